from odoo import api, models
from odoo.exceptions import UserError
from odoo.tools import SQL

# How often numbers are drawn again because all that were drawn are taken, and how many at most together.
DRAW_ROUNDS = 50
DRAW_TOGETHER = 5000


class DunningNotice(models.Model):
    """The numbers of notices, drawn together from the company's sequence."""
    _inherit = 'dunning.notice'

    def _set_numbers(self):
        """Give numbers to the notices that have none, in one go where the sequence may have gaps.

        :raise UserError: there is no sequence, or all that it gives is taken
        """
        for (company, date), notices in self.filtered(lambda notice: not notice.name).grouped(
                lambda notice: (notice.company_id, notice.date)).items():
            for notice, name in zip(notices, self._draw_numbers(company, date, len(notices)), strict=True):
                notice.name = name

    @api.model
    def _find_sequence(self, company):
        """Return the `ir.sequence` of a company's dunning notices, as `next_by_code()` finds it."""
        return self.env['ir.sequence'].sudo().with_company(company).search(
            [('code', '=', 'dunning.notice'), ('company_id', 'in', (company.id, False))], order='company_id', limit=1)

    def _is_number_of(self, date):
        """Whether the number is one that a notice of another date may bear: year, month or the like may stand in it.

        :param date date: the other date
        """
        self.ensure_one()
        sequence = self._find_sequence(self.company_id)
        return not sequence or len({
            sequence._get_prefix_suffix(date=day, date_range=day) for day in (self.date, date)}) == 1

    @api.model
    def _draw_numbers(self, company, date, count):
        """Draw numbers that no notice of the company has.

        A sequence that was set back, or another one with the same prefix, gives numbers that are taken: they are passed
        over.

        :param company: `res.company`
        :param date date: of the notices
        :param int count: how many
        :return: list of str
        :raise UserError: there is no sequence, or all that it gives is taken
        """
        sequence = self._find_sequence(company)
        if not sequence:
            raise UserError(self.env._(
                "Company %s has no sequence for dunning notices. Create one with the code “dunning.notice” under "
                "Settings > Technical > Sequences.", company.name))
        free, size = [], count
        for _round in range(DRAW_ROUNDS):
            drawn = self._draw_from(sequence, date, size)
            self.flush_model(['name'])
            taken = {name for (name,) in self.env.execute_query(SQL(
                "SELECT name FROM dunning_notice WHERE company_id = %s AND name = ANY(%s)", company.id, drawn))}
            free += [name for name in drawn if name not in taken]
            if len(free) >= count:
                return free[:count]
            is_far_behind = len(taken) == len(drawn) and sequence.implementation == 'standard'
            size = min(2 * size, DRAW_TOGETHER) if is_far_behind else count - len(free)
        raise UserError(self.env._(
            "The numbers that sequence “%(sequence)s” gives are taken by other dunning notices (the last one was "
            "%(number)s). Set its next number under Settings > Technical > Sequences.",
            sequence=sequence.name, number=drawn[-1]))

    @api.model
    def _draw_from(self, sequence, date, count):
        """Draw numbers as `next_by_code()` does one by one.

        :param sequence: `ir.sequence`
        :param date date: of the notices
        :param int count: how many
        :return: list of str
        """
        if sequence.implementation != 'standard':
            return [sequence._next(sequence_date=date) for _number in range(count)]
        # The first one makes the range of the year where there is none yet.
        numbers = [sequence._next(sequence_date=date)]
        name = f'ir_sequence_{sequence.id:03d}'
        if sequence.use_date_range:
            date_range = sequence.date_range_ids.filtered(
                lambda candidate: candidate.date_from <= date <= candidate.date_to)[:1]
            name = f'{name}_{date_range.id:03d}'
            sequence = sequence.with_context(ir_sequence_date_range=date_range.date_from)
        return numbers + [sequence.get_next_char(number) for (number,) in self.env.execute_query(SQL(
            "SELECT nextval(%s) FROM generate_series(1, %s)", name, count - 1))]
