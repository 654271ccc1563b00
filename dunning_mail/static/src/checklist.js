import { Component, onWillStart, useState } from "@odoo/owl";
import { _t } from "@web/core/l10n/translation";
import { registry } from "@web/core/registry";
import { useService } from "@web/core/utils/hooks";
import { kanbanView } from "@web/views/kanban/kanban_view";
import { KanbanRenderer } from "@web/views/kanban/kanban_renderer";
import { listView } from "@web/views/list/list_view";
import { ListRenderer } from "@web/views/list/list_renderer";
import { FollowListController } from "./follow";

/** What is to be set up before dunning runs by itself, above the runs; nothing is shown once all is done. */
export class Checklist extends Component {
    static template = "dunning_mail.Checklist";
    static props = {};

    setup() {
        this.orm = useService("orm");
        this.action = useService("action");
        this.state = useState({ items: [] });
        this.doneTitle = _t("Done");
        this.missingTitle = _t("Missing");
        onWillStart(async () => {
            // Whatever is wrong with it, the runs below are shown.
            this.state.items = await this.orm.silent.call("dunning.checklist", "get_items", []).catch(() => []);
        });
    }

    get title() {
        const { items } = this.state;
        return _t("First steps: %(done)s of %(all)s are done", {
            done: items.filter((item) => item.is_done).length,
            all: items.length,
        });
    }

    async open(code) {
        const action = await this.orm.call("dunning.checklist", "action_open", [code]);
        if (action) {
            this.action.doAction(action);
        }
    }
}

export class RunListRenderer extends ListRenderer {
    static template = "dunning_mail.RunListRenderer";
    static components = { ...ListRenderer.components, Checklist };
}

export class RunKanbanRenderer extends KanbanRenderer {
    static template = "dunning_mail.RunKanbanRenderer";
    static components = { ...KanbanRenderer.components, Checklist };
}

registry.category("views").add("dunning_run_list", {
    ...listView,
    Controller: FollowListController,
    Renderer: RunListRenderer,
});
registry.category("views").add("dunning_run_kanban", { ...kanbanView, Renderer: RunKanbanRenderer });
