{
    "name": "Dunning by Mail: as another addon extends it",
    "summary": "What an addon of somebody else's may do to dunning_mail; for tests only",
    "version": "19.0.1.0.0",
    "category": "Hidden/Tests",
    "author": "dunning_mail contributors",
    "license": "LGPL-3",
    "depends": ["dunning_mail"],
    "data": ["security/ir.model.access.csv"],
}
