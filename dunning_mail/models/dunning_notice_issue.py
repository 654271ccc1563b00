import logging
from collections import defaultdict

from odoo import models
from odoo.exceptions import UserError, ValidationError

from .ir_actions_report import RETRYABLE

_logger = logging.getLogger(__name__)


class DunningNotice(models.Model):
    """From draft to issued: rules asked again, number, letter and mail made together, channel."""
    _inherit = 'dunning.notice'

    def _issue(self):
        """Number the drafts, make letter and mail and release them: for sending, or on paper.

        What cannot be issued stays a draft and says why in `problem`; the others are not stopped by it.

        :return: the notices that were issued
        """
        # What others left to be written is refused here or not at all, and not as a fault of some notice.
        self.env.flush_all()
        # One message for each notice, at the end, in place of one for each step.
        drafts = self.filtered(lambda notice: notice.state == 'draft')._as_system().with_context(tracking_disable=True)
        is_within_limit = self.env.context.get('dunning_within_limit', not self._may_issue_any_amount())
        if is_within_limit:
            drafts = drafts._keep_above_limit()
        ready = drafts._prepare_issue_in_sets()
        for notice in drafts - ready:
            try:
                with self.env.cr.savepoint():
                    is_ready = notice._prepare_issue()
            except RETRYABLE:
                raise
            except (UserError, ValidationError) as error:
                notice.problem = str(error)
            except Exception:
                _logger.exception("Dunning notice %s cannot be issued", notice.id)
                notice.problem = notice._describe_technical_fault()
            else:
                # Only now has the database taken its number.
                if is_ready:
                    ready |= notice
        if is_within_limit:
            # What is claimed was read again, and may have grown.
            ready = ready._keep_above_limit()
        ready = ready._note_what_is_made()
        order = {notice_id: position for position, notice_id in enumerate(drafts.ids)}
        ready = ready.sorted(lambda notice: order[notice.id])
        routes = ready._assign_routes()
        documents = ready._make_documents()
        mails = ready._make_mails(documents)
        issued = drafts.browse()
        for notice in ready:
            made = documents.get(notice.id), mails.get(notice.id)
            if fault := next((one for one in made if isinstance(one, Exception)), None):
                notice.write({'problem': str(fault), 'provider_id': False, 'email_to': False})
            else:
                issued |= notice
        issued._store_documents(documents, mails)
        issued._set_state('issued', problem=False)
        issued._release(routes)
        labels = dict(self._fields['delivery_state']._description_selection(self.env))
        issued._message_log_batch({
            notice.id: ' '.join(filter(None, [
                self.env._(
                    "Issued as %(name)s: %(delivery)s", name=notice.name, delivery=labels[notice.delivery_state]),
                notice.attachment_warning])) for notice in issued})
        return self.browse(issued.ids)

    def _foresee_issue(self):
        """Foresee what `_issue()` would make of drafts as things stand now, read in sets. Writes nothing.

        :return: (dict notice id -> :class:`~.dunning_notice_recheck.Verdict`; dict notice id -> what it would claim)
        """
        verdicts = self._recheck()
        return verdicts, {notice.id: notice._get_total_after(verdicts[notice.id]) for notice in self}

    def _prepare_issue_in_sets(self):
        """Check and number all those drafts together that are as they were proposed.

        What has changed or has a fault is left to `_prepare_issue()`, which takes care of one at a time.

        :return: the notices that may be issued
        """
        try:
            with self.env.cr.savepoint():
                ready = self.browse()
                verdicts = self._recheck()
                for notice in self:
                    try:
                        if verdicts[notice.id].code == 'same':
                            notice._check_texts()
                            ready |= notice
                    except (UserError, ValidationError) as error:
                        # Said to a person by `_prepare_issue()`.
                        _logger.info("Dunning notice %s: %s", notice.id, error)
                ready._set_numbers()
                ready._fix_texts()
        except RETRYABLE:
            raise
        except Exception:
            _logger.warning("Dunning notices are prepared one by one, since together they cannot be", exc_info=True)
            return self.browse()
        return ready

    def _prepare_issue(self):
        """Ask the rules again, check and number one draft.

        :return: whether there is still something to issue; else the notice was cancelled
        :raise UserError: a text is missing or holds a wrong placeholder, customer or procedure are archived
        """
        self.ensure_one()
        verdict = self._recheck()[self.id]
        if verdict.code == 'archived':
            raise UserError(self.env._("%s Exclude the notice, or undo the archiving.", verdict.words))
        if verdict.code in ('settled', 'held'):
            self._cancel(self.env._("Cancelled. %s", verdict.words))
            return False
        if verdict.code == 'changed':
            if self.name and not self._is_number_of(verdict.values.get('date', self.date)):
                # Drawn when it could not be issued, and seen by nobody.
                self.name = False
            self._log_note(self._apply_verdict(verdict))
        self._check_texts()
        self._set_numbers()
        self._fix_texts()
        return True

    def _note_what_is_made(self):
        """Write down what is on letters that are about to be made. Not before: with each notice of a customer that is
        cancelled, the fee may move to another one, and with it the reference.

        :return: the notices of which it is known
        """
        try:
            with self.env.cr.savepoint():
                # An item has a hundred columns, of which one is wanted.
                self.line_ids.move_line_id.fetch(['move_id'])
                self.line_ids.move_id.fetch(['payment_reference', 'move_type', 'partner_bank_id'])
                for notice in self:
                    notice.write({'problem': False, **notice._prepare_making_values()})
        except RETRYABLE:
            raise
        except Exception as error:
            if len(self) > 1:
                return self.browse().union(*(notice._note_what_is_made() for notice in self))
            if isinstance(error, UserError):
                self.problem = str(error)
            else:
                _logger.exception("Dunning notice %s cannot be issued", self.id)
                self.problem = self._describe_technical_fault()
            return self.browse()
        return self

    def _describe_technical_fault(self):
        return self.env._(
            "The notice could not be prepared because of a technical fault. The server's log says more.")

    # === CHANNEL === #

    def _assign_routes(self):
        """Choose the channel of notices that are being issued, and write down what their mails need of it.

        :return: dict notice id -> (channel, reason in words)
        """
        routes = {}
        for notice in self:
            channel, info, addresses = notice._choose_channel()
            is_mail = channel == 'mail'
            notice.write({
                'email_to': ', '.join(addresses) if is_mail else False,
                'provider_id': notice.company_id.sudo().dunning_provider_id.id if is_mail else False})
            routes[notice.id] = channel, info
        return routes

    def _release(self, routes):
        """Let issued notices go.

        :param dict routes: what `_assign_routes()` returned
        """
        by_route = defaultdict(self.browse)
        for notice in self:
            by_route[*routes[notice.id], notice.provider_id] |= notice
        engines = self.env['ir.cron']
        for (channel, info, provider), notices in by_route.items():
            if channel == 'paper':
                notices._set_paper(info)
                continue
            notices._set_released(
                self.env._("Waits to be sent."), {'text': self.env._("Released for sending.")},
                next_attempt_at=False, attempt_count=0)
            engines |= provider.sudo().engine_id
        for engine in engines:
            engine._trigger()
