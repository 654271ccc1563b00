import { download } from "@web/core/network/download";
import { rpc } from "@web/core/network/rpc";
import { registry } from "@web/core/registry";
import { user } from "@web/core/user";
import { getReportUrl } from "@web/webclient/actions/reports/utils";

// Which engine makes a report, for actions that do not say so; asked once per report and page.
const enginesByReport = new Map();

function getPdfEngine(action) {
    if (action.pdf_engine) {
        return action.pdf_engine;
    }
    if (!enginesByReport.has(action.report_name)) {
        const engine = rpc("/web/dataset/call_kw/ir.actions.report/get_pdf_engine", {
            model: "ir.actions.report",
            method: "get_pdf_engine",
            args: [action.report_name],
            kwargs: {},
        }).catch(() => {
            // Core's own way to the report shows what is wrong.
            enginesByReport.delete(action.report_name);
            return "wkhtmltopdf";
        });
        enginesByReport.set(action.report_name, engine);
    }
    return enginesByReport.get(action.report_name);
}

/**
 * Downloads reports that another engine than wkhtmltopdf makes. Core asks for wkhtmltopdf first and shows the report as
 * a page when that is not installed, which has nothing to do with these.
 *
 * @param {Object} action the report action
 * @param {Object} options
 * @param {Object} env
 * @returns {Promise<boolean>} whether the report was downloaded
 */
async function downloadByOtherEngine(action, options, env) {
    if (action.report_type !== "qweb-pdf") {
        return false;
    }
    const engine = await getPdfEngine(action);
    if (!engine || engine === "wkhtmltopdf") {
        return false;
    }
    env.services.ui.block();
    try {
        await download({
            url: "/report/download",
            data: {
                data: JSON.stringify([getReportUrl(action, "pdf"), action.report_type]),
                context: JSON.stringify({ ...user.context, ...action.context }),
            },
        });
    } finally {
        env.services.ui.unblock();
    }
    return true;
}

registry
    .category("ir.actions.report handlers")
    .add("report_pdf_engine.download", downloadByOtherEngine);
