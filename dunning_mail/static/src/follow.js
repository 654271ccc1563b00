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
            "state", "is_moving", "moving_info", "progress", "provider_warning", "notice_count", "draft_count", "problem_count",
            "released_count", "paper_count", "unprinted_count", "sending_count", "sent_count", "failed_count",
            "unclear_count", "cancelled_count",
        ],
    },
    "dunning.notice": {
        isMoving: (data) => data.state === "issued" && ["released", "sending"].includes(data.delivery_state),
        fields: ["state", "delivery_state", "status", "delivery_info"],
    },
};

/**
 * Finds out which records differ from what is shown, by one cheap look at a few fields of those that are moving.
 *
 * @param {Object} orm
 * @param {Object[]} records datapoints of one model
 * @returns {Promise<Array<[Object, Object | undefined]>>} record and its present values, undefined when it is gone
 */
async function findChanged(orm, records) {
    const resModel = records[0]?.resModel;
    const moving = records.filter((record) => record.resId && FOLLOWED[resModel]?.isMoving(record.data));
    if (!moving.length) {
        return [];
    }
    const fields = FOLLOWED[resModel].fields.filter((name) => name in moving[0].activeFields);
    const rows = await orm.silent.searchRead(
        resModel,
        [["id", "in", moving.map((record) => record.resId)]],
        fields,
        { context: moving[0].context }
    );
    const values = new Map(rows.map((row) => [row.id, row]));
    return moving
        .map((record) => [record, values.get(record.resId)])
        .filter(([record, row]) => !row || fields.some((name) => (row[name] || false) !== (record.data[name] || false)));
}

/**
 * Keeps a view up to date while something on it is moving: a cheap look every three seconds, and a reload only when
 * something differs from what is shown. Looks only while the browser tab is visible.
 *
 * @param {Object} params
 * @param {() => Object[]} params.getRecords the records on screen
 * @param {() => boolean} params.canReload whether a reload would disturb nobody
 * @param {(changed: Array<[Object, Object | undefined]>) => Promise} params.reload
 */
function useFollow({ getRecords, canReload, reload }) {
    const component = useComponent();
    const orm = useService("orm");
    let timer = null;

    async function look() {
        if (document.visibilityState === "hidden" || !canReload()) {
            return;
        }
        const changed = await findChanged(orm, getRecords());
        // The user may have begun to type meanwhile, or left.
        if (changed.length && status(component) === "mounted" && canReload()) {
            await reload(changed);
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
            reload: ([[root, row]]) => this.reloadInPlace(root, row),
        });
    }

    /**
     * Reloads the record. Where the user has paged on in a list, that would bring her back to the first page under her
     * hands: then what changed is brought in row by row.
     */
    async reloadInPlace(root, row) {
        const pagedLists = Object.keys(root.activeFields)
            .filter((name) => root.fields[name].type === "one2many" && root.data[name].offset)
            .map((name) => root.data[name]);
        if (!row || !pagedLists.length) {
            return root.load();
        }
        root._applyValues(row);
        for (const list of pagedLists) {
            for (const [record] of await findChanged(this.orm, list.records)) {
                await record.load();
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
