import { status, useComponent, onMounted, onWillUnmount } from "@odoo/owl";
import { browser } from "@web/core/browser/browser";
import { registry } from "@web/core/registry";
import { useBus, useService } from "@web/core/utils/hooks";
import { FormController } from "@web/views/form/form_controller";
import { formView } from "@web/views/form/form_view";
import { ListController } from "@web/views/list/list_controller";
import { listView } from "@web/views/list/list_view";

const INTERVAL = 3000;
// After a failed look: the server may be restarting, there is no use in hurrying it.
const INTERVAL_AFTER_ERROR = 30000;

/** What changes without the user's doing, by model: when to look, and which plain fields to look at. */
const FOLLOWED = {
    "dunning.run": {
        isMoving: (data) => data.is_moving,
        fields: [
            "state", "is_moving", "progress", "provider_warning", "notice_count", "draft_count", "problem_count",
            "released_count", "paper_count", "unprinted_count", "sending_count", "sent_count", "failed_count",
            "unclear_count", "cancelled_count",
        ],
    },
    "dunning.notice": {
        isMoving: (data) => data.state === "issued" && ["released", "sending"].includes(data.delivery_state),
        fields: ["state", "delivery_state", "delivery_info"],
    },
};

/**
 * Keeps a view up to date while something on it is moving: a cheap look at a few fields every three seconds, and a
 * reload only when they differ from what is shown. Looks only while the browser tab is visible.
 *
 * @param {Object} params
 * @param {() => Object[]} params.getRecords the records on screen
 * @param {() => boolean} params.canReload whether a reload would disturb nobody
 * @param {() => Promise} params.reload
 */
function useFollow({ getRecords, canReload, reload }) {
    const component = useComponent();
    const orm = useService("orm");
    let timer = null;

    async function look() {
        if (document.visibilityState === "hidden" || !canReload()) {
            return;
        }
        const followed = FOLLOWED[component.props.resModel];
        const moving = getRecords().filter((record) => record.resId && followed.isMoving(record.data));
        if (!moving.length) {
            return;
        }
        const fields = followed.fields.filter((name) => name in moving[0].activeFields);
        const rows = await orm.silent.searchRead(
            component.props.resModel,
            [["id", "in", moving.map((record) => record.resId)]],
            fields,
            { context: component.props.context }
        );
        const current = Object.fromEntries(rows.map((row) => [row.id, row]));
        const hasChanged = moving.some((record) => {
            const row = current[record.resId];
            return !row || fields.some((name) => (row[name] || false) !== (record.data[name] || false));
        });
        // The user may have begun to type meanwhile, or left.
        if (hasChanged && status(component) === "mounted" && canReload()) {
            await reload();
        }
    }

    async function tick() {
        let interval = INTERVAL;
        try {
            await look();
        } catch {
            // Whatever it is, the user's own next click says so; looking again must not pile up error dialogs.
            interval = INTERVAL_AFTER_ERROR;
        }
        if (status(component) === "mounted") {
            timer = browser.setTimeout(tick, interval);
        }
    }

    onMounted(() => {
        timer = browser.setTimeout(tick, INTERVAL);
    });
    onWillUnmount(() => browser.clearTimeout(timer));
}

export class FollowFormController extends FormController {
    setup() {
        super.setup();
        this.isFieldDirty = false;
        useBus(this.model.bus, "FIELD_IS_DIRTY", (ev) => {
            this.isFieldDirty = ev.detail;
        });
        useFollow({
            getRecords: () => [this.model.root],
            canReload: () => !this.isFieldDirty && !this.model.root.dirty && !this.formInDialog,
            reload: () => this.reloadInPlace(),
        });
    }

    /** Reloads the record; lists inside that the user has paged on stay on their page. */
    async reloadInPlace() {
        const root = this.model.root;
        const pages = Object.entries(root.data)
            .filter(([name, value]) => root.fields[name]?.type === "one2many" && value.offset)
            .map(([name, { offset, limit, orderBy }]) => [name, { offset, limit, orderBy }]);
        await root.load();
        for (const [name, page] of pages) {
            if (page.offset < root.data[name].count) {
                await root.data[name].load(page);
            }
        }
    }
}

export class FollowListController extends ListController {
    setup() {
        super.setup();
        useFollow({
            getRecords: () => this.model.root.records,
            // Rows that the user has chosen for an action stay as they are.
            canReload: () =>
                this.model.isReady &&
                !this.model.useSampleModel &&
                !this.model.root.editedRecord &&
                !this.model.root.selection.length,
            reload: () => this.model.load(),
        });
    }
}

registry.category("views").add("dunning_follow_form", { ...formView, Controller: FollowFormController });
registry.category("views").add("dunning_follow_list", { ...listView, Controller: FollowListController });
