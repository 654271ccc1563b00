import { rpc } from "@web/core/network/rpc";
import { registry } from "@web/core/registry";

const row = (text) => `.o_field_widget[name=shown_notice_ids] .o_data_row:contains("${text}")`;
const header = (name) => `.o_form_statusbar button[name=${name}]:visible`;

registry.category("web_tour.tours").add("dunning_provider", {
    steps: () => [
        { content: "new service provider", trigger: ".o_list_button_add", run: "click" },
        { trigger: "div[name=name] input", run: "edit Mahnwesen" },
        { trigger: ".nav-link[name=login]", run: "click" },
        { trigger: "div[name=smtp_host] input", run: "edit localhost" },
        {
            content: "the port is that of the test server",
            trigger: "div[name=smtp_port] input",
            async run({ edit }) {
                const [provider] = await rpc("/web/dataset/call_kw/dunning.provider/search_read", {
                    model: "dunning.provider",
                    method: "search_read",
                    args: [[["name", "=", "Test provider"]], ["smtp_port"]],
                    kwargs: {},
                });
                await edit(String(provider.smtp_port));
            },
        },
        { trigger: "div[name=smtp_user] input", run: "edit dunning" },
        { trigger: "div[name=smtp_pass]:visible input", run: "edit geheim" },
        { trigger: "div[name=email_from] input", run: "edit mahnung@muster.test" },
        { content: "a short interval", trigger: "div[name=send_interval] input", run: "edit 20 && press Tab" },
        { content: "is warned about", trigger: ".alert-warning:visible:contains(spammer)" },
        { trigger: ".o_form_button_save:visible", run: "click" },
        { trigger: ".o_form_saved", run: () => {} },
        {
            content: "the password is gone from the screen",
            trigger: "div[name=smtp_pass]:visible input",
            run({ queryFirst }) {
                if (queryFirst("div[name=smtp_pass]:visible input").value) {
                    throw new Error("the password can be read");
                }
            },
        },
        { trigger: header("action_test_connection"), run: "click" },
        { content: "the real server was asked", trigger: ".o_notification:contains(accepted)" },
    ],
});

registry.category("web_tour.tours").add("dunning_run", {
    steps: () => [
        { content: "a new run", trigger: ".o_form_button_save", run: "click" },
        { trigger: header("action_generate_notices"), run: "click" },
        { content: "the notices appear below", trigger: row("Acme") },
        { trigger: row("Other") },
        { trigger: `${row("Other")} button[name=action_exclude]`, run: "click" },
        { content: "excluded, it can be put back", trigger: `${row("Other")} button[name=action_include]` },
        { trigger: header("action_preflight"), run: "click" },
        { content: "what goes out, before it does", trigger: ".modal div[name=mail_count]:contains(1)" },
        { content: "by when", trigger: ".modal div[name=end_info]:contains(Leaves at about)" },
        { content: "the button names the number", trigger: ".modal button[name=action_issue]:contains(Issue 1 notice)", run: "click" },
        { content: "released", trigger: `${row("Acme")} [name=status]:contains("Released")` },
        { content: "when it ends", trigger: ".o_field_widget[name=moving_info]:contains(The last one leaves at about)" },
        { content: "the excluded one is not", trigger: `${row("Other")} [name=status]:contains("Excluded")` },
    ],
});

registry.category("web_tour.tours").add("dunning_states", {
    steps: () => [
        { trigger: ".o_data_row td[name=name]:contains(ML/)", run: "click" },
        { content: "on its way", trigger: `${row("Acme")} [name=status]:contains("Released")` },
        {
            content: "the process engine runs",
            trigger: "button[name=action_open_notices]",
            async run() {
                const [engine] = await rpc("/web/dataset/call_kw/ir.cron/search", {
                    model: "ir.cron",
                    method: "search",
                    args: [[["model_id.model", "=", "dunning.engine"]]],
                    kwargs: {},
                });
                await rpc("/web/dataset/call_kw/ir.cron/method_direct_trigger", {
                    model: "ir.cron",
                    method: "method_direct_trigger",
                    args: [[engine]],
                    kwargs: {},
                });
            },
        },
        { content: "the list follows by itself", trigger: `${row("Acme")} [name=status]:contains("Sent")` },
        { trigger: `${row("Gone")} [name=status]:contains("Failed")` },
        { content: "and so do the counts", trigger: "button[name=action_open_notices]:contains(Sent)" },
        { trigger: "button[name=action_open_notices]:contains(Failed)", run: "click" },
        { trigger: ".o_list_view .o_data_row:contains(Gone) td[name=partner_id]", run: "click" },
        { content: "the server's words", trigger: ".o_form_view .o_field_widget[name=delivery_info]:contains(User unknown)" },
    ],
});

registry.category("web_tour.tours").add("dunning_paid", {
    steps: () => [
        { trigger: ".o_list_view .o_data_row:contains(Other) td[name=claim_info]:contains(Open)" },
        { content: "a paid notice says so", trigger: ".o_data_row:contains(Acme) td[name=claim_info]:contains(Paid on)" },
        { trigger: ".o_data_row:contains(Acme) td[name=partner_id]", run: "click" },
        { trigger: ".o_form_view .o_field_widget[name=claim_info]:contains(Paid on)" },
        { trigger: ".oe_subtotal_footer .o_field_widget[name=amount_paid_since]:contains(250.00)" },
        { trigger: ".oe_subtotal_footer .o_field_widget[name=amount_open]:contains(/[^0-9]0.00/)" },
        { trigger: ".o_breadcrumb .o_back_button", run: "click" },
        { trigger: ".o_list_view .o_data_row:contains(Acme)" },
        { content: "who is called", trigger: ".o_searchview_dropdown_toggler", run: "click" },
        { trigger: ".o_filter_menu .o_menu_item:contains(/^Open$/)", run: "click" },
        { trigger: ".o_list_view:not(:has(.o_data_row:contains(Acme))) .o_data_row:contains(Other)" },
    ],
});

const warning = (words, count) =>
    `.modal .o_data_row:contains("${words}"):has(td[name=notice_count]:contains(/^${count}$/))`;

registry.category("web_tour.tours").add("dunning_preflight", {
    steps: () => [
        { trigger: header("action_preflight"), run: "click" },
        { trigger: ".modal div[name=mail_count]:contains(8)" },
        { trigger: ".modal div[name=paper_count]:contains(1)" },
        { content: "by when", trigger: ".modal div[name=end_info]:contains(does not send at present)" },
        { trigger: warning("New at the last level", 1) },
        { trigger: warning("Postal address missing", 1) },
        { trigger: warning("Postal address too large", 1) },
        { trigger: warning("No bank account", 9) },
        { trigger: warning("No copy of an invoice", 1) },
        { trigger: warning("never sent", 1) },
        { trigger: warning("not allocated", 1) },
        { trigger: warning("Money on its way", 1) },
        { trigger: warning("stays a draft", 1) },
        { trigger: '.modal .o_data_row:contains("Bank data is old")' },
        { trigger: '.modal .o_data_row:contains("provider is paused")' },
        { trigger: '.modal .o_data_row:contains("connection tested")' },
        { trigger: ".modal button[name=action_issue]:contains(Issue 9 notices)" },
        { content: "exactly the notice concerned", trigger: `${warning("never sent", 1)} button[name=action_show]`, run: "click" },
        { trigger: ".o_list_view .o_data_row:contains(Unsent):only" },
        { trigger: ".o_breadcrumb .o_back_button a:contains(ML/)", run: "click" },
        { trigger: header("action_preflight"), run: "click" },
        { trigger: ".modal button[name=action_issue]", run: "click" },
        { content: "issued", trigger: `${row("Unsent")} [name=status]:contains("Released")` },
        { content: "too large for a clerk", trigger: `${row("Large")} [name=status]:contains("Draft")` },
    ],
});

const step = (code, state) => `.o_dunning_checklist [data-code=${code}].o_dunning_${state}`;

registry.category("web_tour.tours").add("dunning_checklist_red", {
    steps: () => [
        ...["provider", "mailbox", "bounce", "account", "letter", "trial", "engine"].map((code) => ({ trigger: step(code, "missing") })),
        { content: "the installed texts are there", trigger: step("texts", "done") },
        { trigger: `${step("provider", "missing")} a`, run: "click" },
        { content: "where it is done", trigger: ".o_breadcrumb:contains(Service Providers)" },
    ],
});

registry.category("web_tour.tours").add("dunning_checklist_some", {
    steps: () => [
        ...["provider", "mailbox", "account", "texts", "engine"].map((code) => ({ trigger: step(code, "done") })),
        { trigger: step("bounce", "missing") },
        { trigger: step("letter", "missing") },
        { trigger: step("trial", "missing") },
    ],
});

registry.category("web_tour.tours").add("dunning_checklist_green", {
    steps: () => [
        { trigger: ".o_list_view .o_data_row" },
        { content: "all is done", trigger: ".o_list_view:not(:has(.o_dunning_checklist))" },
    ],
});

registry.category("web_tour.tours").add("dunning_promise", {
    steps: () => [
        { content: "the customer's accounting", trigger: ".nav-link[name=accounting]", run: "click" },
        { trigger: "button[name=action_dunning_promise]:visible", run: "click" },
        { content: "amount and day are there", trigger: ".modal div[name=amount] input:value(250.00)" },
        { trigger: ".modal footer button[name=action_make]", run: "click" },
        { content: "promised", trigger: ".o_statusbar_status .o_arrow_button_current:contains(Open)" },
        { content: "she wants to pay in instalments", trigger: header("action_extend"), run: "click" },
        { trigger: ".modal div[name=count] input", run: "edit 6 && press Tab" },
        { content: "the last one takes the rest", trigger: ".modal div[name=line_ids] .o_data_row:contains(41.65)" },
        { trigger: ".modal footer button[name=action_make]", run: "click" },
        { trigger: "body:not(:has(.modal)) .o_field_widget[name=previous_id]:contains(Promise of)" },
        { trigger: "body:not(:has(.modal)) .o_field_widget[name=line_ids] .o_data_row:contains(41.65)" },
        { content: "she gets it in writing", trigger: header("action_send_confirmation"), run: "click" },
        { content: "by mail", trigger: ".o_form_view .o_field_widget[name=promise_id]:contains(Promise of)" },
        { trigger: header("action_open_document") },
        { trigger: ".o_breadcrumb .o_back_button", run: "click" },
        { trigger: "button[name=action_open_confirmation]:contains(Released)" },
    ],
});

// Four clicks on the telephone, and two for each run.
registry.category("web_tour.tours").add("dunning_promise_phone", {
    steps: () => [
        { content: "who is it?", trigger: ".o_searchview_input", run: "edit Acme" },
        { trigger: ".o_searchview_autocomplete", run: "press Enter" },
        { trigger: ".o_list_view .o_data_row:contains(Acme):only .o_data_cell:contains(Acme)", run: "click" },
        { trigger: ".nav-link[name=accounting]", run: "click" },
        { trigger: "button[name=action_dunning_promise]:visible", run: "click" },
        { trigger: ".modal div[name=amount] input:value(250.00)" },
        { trigger: ".modal footer button[name=action_make]", run: "click" },
        { trigger: ".o_statusbar_status .o_arrow_button_current:contains(Open)" },
    ],
});

registry.category("web_tour.tours").add("dunning_promise_rests", {
    steps: () => [
        { trigger: ".o_form_button_save", run: "click" },
        { trigger: header("action_generate_notices"), run: "click" },
        { content: "the others are dunned", trigger: row("Other") },
        { content: "she is not", trigger: ".o_field_widget[name=shown_notice_ids]:not(:has(.o_data_row:contains(Acme)))" },
    ],
});

registry.category("web_tour.tours").add("dunning_promise_missed", {
    steps: () => [
        { trigger: ".o_form_button_save", run: "click" },
        { trigger: header("action_generate_notices"), run: "click" },
        { content: "she has not paid", trigger: row("Acme") },
    ],
});

registry.category("web_tour.tours").add("dunning_dispute", {
    steps: () => [
        { trigger: ".o_data_row:contains(Acme) td[name=partner_id]", run: "click" },
        { content: "her answer", trigger: ".alert:visible blockquote:contains(kaputt)" },
        { trigger: ".alert button[name=action_dunning_dispute]:visible", run: "click" },
        { trigger: "div[name=amount] input", run: "edit 30 && press Tab" },
        { trigger: "div[name=reason_id] input", run: "edit Quality" },
        { trigger: ".o-autocomplete--dropdown-item:contains(Quality)", run: "click" },
        { trigger: ".o_form_button_save:visible", run: "click" },
        { trigger: header("action_make_refund"), run: "click" },
        { content: "core's wizard", trigger: ".modal button[name=refund_moves]", run: "click" },
        { content: "its credit note, for as much as is contested", trigger: ".o_field_widget[name=invoice_line_ids] .o_data_row td[name=price_unit]", run: "click" },
        { trigger: ".o_field_widget[name=invoice_line_ids] .o_selected_row div[name=price_unit] input", run: "edit 30 && press Tab" },
        { trigger: ".o_field_widget[name=tax_totals]:contains(30.00)" },
        { trigger: ".o_form_statusbar button[name=action_post]:visible", run: "click" },
        { trigger: ".o_statusbar_status .o_arrow_button_current:contains(Posted)" },
    ],
});
