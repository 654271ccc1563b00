# The front door; what it calls lies in dev/. Everything that is built lies in .dev/.
#   make test ARGS="-k retry"     passes arguments to pytest
#   make setup ODOO_SRC=/path     uses an Odoo 19 source that is there, in place of Debian's package

.PHONY: help setup demo serve test lint i18n bench faults clean

help:
	@echo 'make setup   all that the others need (they call it themselves)'
	@echo 'make demo    the main job on demo data, from the run to the delivered mails'
	@echo 'make serve   the demo database in a browser, 127.0.0.1:8069'
	@echo 'make test    every test; ARGS="-k name" for some'
	@echo 'make lint    ruff, pylint-odoo, XML, PO and shell checks'
	@echo 'make i18n    exports the .pot and merges the .po files'
	@echo 'make bench   how fast it is, beside its peers; ARGS="documents 100" for one part and size'
	@echo 'make faults  a misbehaving mail server, dying processes, a restarting database, Postfix and Dovecot; ARGS=--short'
	@echo 'make clean   stops what runs and removes .dev/'

ifdef ODOO_SRC
export ODOO_SRC
endif

setup:
	@dev/setup

demo:
	@dev/demo

serve:
	@dev/serve

test:
	@dev/test $(ARGS)

lint:
	@dev/lint

i18n:
	@dev/i18n

bench:
	@dev/bench $(ARGS)

faults:
	@dev/faults $(ARGS)

clean:
	@dev/clean
