import { registry } from "@web/core/registry";
import { X2ManyField, x2ManyField } from "@web/views/fields/x2many/x2many_field";

/**
 * A list whose rows open the record's own page, with a way back, in place of a dialog: buttons, chatter and pager are
 * there. A list with an `action` of its own runs that, as it does outside of a form.
 */
export class OpenFormField extends X2ManyField {
    async openRecord(record, options = {}) {
        const { openAction } = this.archInfo;
        if (!openAction) {
            return this.switchToForm(record, options);
        }
        if (!(await this.props.record.save())) {
            return;
        }
        return this.action.doActionButton(
            {
                name: openAction.action,
                type: openAction.type,
                resModel: record.resModel,
                resId: record.resId,
                resIds: [record.resId],
                context: record.context,
            },
            options
        );
    }
}

registry.category("fields").add("dunning_open_form", { ...x2ManyField, component: OpenFormField });
