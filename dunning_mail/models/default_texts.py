"""The standard dunning texts: what a new level's text rows start with.

The English source stands here, all other languages come through the i18n files. The texts keep to what the
restricted renderer accepts: placeholders from ``dunning.notice.mail_allowed_qweb_expressions()``, and plain
``<p>`` elements without attributes.

What they say must hold for every notice, whatever its company and its customer have filled in:

- one item or many, so they speak of a balance and a total, never of "the invoices";
- phone numbers and mail addresses may be missing, so people are sent to the person responsible by name;
- fees and interest may be zero, so they are in the total and not in the wording;
- a level may bring together items that were reminded of and items that were not, so "our reminder" is about
  the account, not about a single item.
"""

from odoo.tools.translate import code_translations

MODULE = 'dunning_mail'

TEXT_FIELDS = ('mail_subject', 'mail_body', 'letter_title', 'letter_intro', 'letter_closing')


def _lt(source: str) -> str:
    """Mark a literal for the export to the i18n files, and leave it as it is.

    Odoo's own lazy string cannot tell a missing translation from the source, which is what we need to know.
    """
    return source


# tone -> field of dunning.level.text -> English source
DEFAULT_TEXTS = {
    # Assumes an oversight.
    'friendly': {
        'mail_subject': _lt("{{ object.company_id.name }}: payment reminder {{ object.name }}"),
        'mail_body': _lt(
            '<p>Dear Sir or Madam,</p>'
            '<p>When reviewing our accounts, we noticed that your account shows an overdue balance. '
            'No doubt this is simply an oversight.</p>'
            '<p>We kindly ask you to pay the total of <t t-out="object.amount_total_text"/> '
            'by <t t-out="object.date_deadline_text"/>.</p>'
            '<p>The overdue balance in detail:</p>'
            '<t t-out="object.items_html"/>'
            '<p>You will find the details in the attached PDF document.</p>'
            '<p>If you have paid in the meantime, please disregard this message. '
            '<t t-out="object.user_id.name"/> will be pleased to help if you have any questions. '
            'Thank you for your business.</p>'
            '<p>Kind regards</p>'
            '<p><t t-out="object.user_id.name"/>, <t t-out="object.company_id.name"/></p>',
        ),
        'letter_title': _lt("Payment reminder {{ object.name }}"),
        'letter_intro': _lt(
            '<p>Dear Sir or Madam,</p>'
            '<p>When reviewing our accounts, we noticed that your account shows an overdue balance, '
            'as set out below. No doubt this is simply an oversight.</p>',
        ),
        'letter_closing': _lt(
            '<p>We kindly ask you to pay the total of <t t-out="object.amount_total_text"/> '
            'by <t t-out="object.date_deadline_text"/>.</p>'
            '<p>If you have paid in the meantime, please disregard this letter. '
            '<t t-out="object.user_id.name"/> will be pleased to help if you have any questions.</p>'
            '<p>Thank you for your business.</p>'
            '<p>Yours faithfully</p>'
            '<p><t t-out="object.company_id.name"/></p>',
        ),
    },
    # Clear and polite: the account is still open, and there is a date.
    'firm': {
        'mail_subject': _lt("{{ object.company_id.name }}: second reminder {{ object.name }}"),
        'mail_body': _lt(
            '<p>Dear Sir or Madam,</p>'
            '<p>Following our payment reminder, we have not yet received full payment from you.</p>'
            '<p>Please pay the total of <t t-out="object.amount_total_text"/> '
            'by <t t-out="object.date_deadline_text"/> at the latest.</p>'
            '<p>The overdue balance in detail:</p>'
            '<t t-out="object.items_html"/>'
            '<p>You will find the details in the attached PDF document.</p>'
            '<p>If you have paid in the meantime, please disregard this message. '
            'If you have any questions or objections, please contact <t t-out="object.user_id.name"/> '
            'before the deadline.</p>'
            '<p>Kind regards</p>'
            '<p><t t-out="object.user_id.name"/>, <t t-out="object.company_id.name"/></p>',
        ),
        'letter_title': _lt("Second reminder {{ object.name }}"),
        'letter_intro': _lt(
            '<p>Dear Sir or Madam,</p>'
            '<p>Following our payment reminder, we have not yet received full payment from you. '
            'Your account shows the overdue balance set out below.</p>',
        ),
        'letter_closing': _lt(
            '<p>Please pay the total of <t t-out="object.amount_total_text"/> '
            'by <t t-out="object.date_deadline_text"/> at the latest.</p>'
            '<p>If you have paid in the meantime, please disregard this letter. '
            'If you have any questions or objections, please contact <t t-out="object.user_id.name"/> '
            'before the deadline.</p>'
            '<p>Yours faithfully</p>'
            '<p><t t-out="object.company_id.name"/></p>',
        ),
    },
    # Announces what the company will do next, and nothing that it may not do.
    'final': {
        'mail_subject': _lt("{{ object.company_id.name }}: final reminder {{ object.name }}"),
        'mail_body': _lt(
            '<p>Dear Sir or Madam,</p>'
            '<p>Despite our previous reminders, your account has still not been settled.</p>'
            '<p>For the last time, we ask you to pay the total of <t t-out="object.amount_total_text"/> '
            'by <t t-out="object.date_deadline_text"/> at the latest. If we do not receive full payment '
            'by then, we will pursue our claim by legal means.</p>'
            '<p>The overdue balance in detail:</p>'
            '<t t-out="object.items_html"/>'
            '<p>You will find the details in the attached PDF document.</p>'
            '<p>If you have paid in the meantime, please disregard this message. '
            'If you have any questions or objections, please contact <t t-out="object.user_id.name"/> '
            'before the deadline.</p>'
            '<p>Kind regards</p>'
            '<p><t t-out="object.user_id.name"/>, <t t-out="object.company_id.name"/></p>',
        ),
        'letter_title': _lt("Final reminder {{ object.name }}"),
        'letter_intro': _lt(
            '<p>Dear Sir or Madam,</p>'
            '<p>Despite our previous reminders, your account has still not been settled. '
            'It shows the overdue balance set out below.</p>',
        ),
        'letter_closing': _lt(
            '<p>For the last time, we ask you to pay the total of <t t-out="object.amount_total_text"/> '
            'by <t t-out="object.date_deadline_text"/> at the latest. If we do not receive full payment '
            'by then, we will pursue our claim by legal means.</p>'
            '<p>If you have paid in the meantime, please disregard this letter. '
            'If you have any questions or objections, please contact <t t-out="object.user_id.name"/> '
            'before the deadline.</p>'
            '<p>Yours faithfully</p>'
            '<p><t t-out="object.company_id.name"/></p>',
        ),
    },
}

# kind of a notice without a level -> the same
KIND_TEXTS = {
    'plan': {
        'mail_subject': _lt("{{ object.company_id.name }}: payment agreement {{ object.name }}"),
        'mail_body': _lt(
            '<p>Dear Sir or Madam,</p>'
            '<p>We confirm what we agreed on <t t-out="object.promise_date_text"/>: you pay the total of '
            '<t t-out="object.amount_total_text"/> as follows.</p>'
            '<t t-out="object.plan_html"/>'
            '<p>You will find the details in the attached PDF document. Please state the reference of the instalment '
            'with each payment.</p>'
            '<p>If you cannot keep to a date, please tell <t t-out="object.user_id.name"/> beforehand.</p>'
            '<p>Kind regards</p>'
            '<p><t t-out="object.user_id.name"/>, <t t-out="object.company_id.name"/></p>',
        ),
        'letter_title': _lt("Payment agreement {{ object.name }}"),
        'letter_intro': _lt(
            '<p>Dear Sir or Madam,</p>'
            '<p>We confirm what we agreed on <t t-out="object.promise_date_text"/>: you pay the total of '
            '<t t-out="object.amount_total_text"/> as set out below.</p>',
        ),
        'letter_closing': _lt(
            '<p>Please state the reference of the instalment with each payment, so that it is credited to this '
            'agreement.</p>'
            '<p>If you cannot keep to a date, please tell <t t-out="object.user_id.name"/> beforehand.</p>'
            '<p>Yours faithfully</p>'
            '<p><t t-out="object.company_id.name"/></p>',
        ),
    },
}


def get_default_texts(tone: str, lang: str) -> dict[str, str] | None:
    """Return the standard texts of a tone in one language, ready for a ``dunning.level.text`` row.

    A variant takes from its base language what it does not have itself: ``fr_CH`` reads ``fr.po``, and
    ``de_CH`` reads ``de.po`` under ``de_CH.po``.

    :param tone: a key of ``DEFAULT_TEXTS``: ``friendly``, ``firm`` or ``final``; or of ``KIND_TEXTS``
    :param lang: code of a language as in ``res.lang``
    :return: a text for each of ``TEXT_FIELDS``, or None when the module has no complete translation for the
        language: a customer must never get a letter that is half in English
    """
    sources = {**DEFAULT_TEXTS, **KIND_TEXTS}[tone]
    translations = code_translations.get_python_translations(MODULE, lang)
    if lang.split('_', 1)[0] == 'en':
        return {field: translations.get(source, source) for field, source in sources.items()}
    if any(source not in translations for source in sources.values()):
        return None
    return {field: translations[source] for field, source in sources.items()}
