"""Core's own engine, with or without the second that Odoo makes it wait for JavaScript before each document."""

from unittest.mock import patch


def javascript_delay(reports, *, wanted):
    """Let core's engine wait as it does, or not at all.

    :param reports: `ir.actions.report`
    :param bool wanted: with its wait
    :return: a context manager
    """
    base = type(reports)._build_wkhtmltopdf_args

    def build(model, *args, **kwargs):
        command = base(model, *args, **kwargs)
        if not wanted and "--javascript-delay" in command:
            command[command.index("--javascript-delay") + 1] = "0"
        return command

    return patch.object(type(reports), "_build_wkhtmltopdf_args", build)
