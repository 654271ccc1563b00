import { isHtmlContentSupported } from "@html_editor/core/selection_plugin";
import { HtmlField, htmlField } from "@html_editor/fields/html_field";
import { QWebPlugin } from "@html_editor/others/qweb_plugin";
import { Plugin } from "@html_editor/plugin";
import { withSequence } from "@html_editor/utils/resource";
import { markup } from "@odoo/owl";
import { _t } from "@web/core/l10n/translation";
import { registry } from "@web/core/registry";

const LABEL = "data-dunning-label";

/** Says at each placeholder what it means; the style sheet shows that in place of the expression. */
function labelPlaceholders(root, placeholders) {
    for (const element of root.querySelectorAll("[t-out]")) {
        const label = placeholders?.[element.getAttribute("t-out").trim()];
        if (label) {
            element.setAttribute(LABEL, label);
        }
    }
}

/**
 * Placeholders in dunning texts: typing "/" offers those that are allowed, and no others as core's own selector does.
 * In the editor they show their meaning in place of their expression.
 */
export class DunningPlaceholderPlugin extends Plugin {
    static id = "dunningPlaceholder";
    static dependencies = ["qweb", "dom", "history"];

    resources = {
        user_commands: this.placeholders.map(([expression, label]) => ({
            id: `insertDunningPlaceholder:${expression}`,
            title: label,
            description: expression,
            icon: "fa-hashtag",
            run: () => this.insert(expression),
            isAvailable: isHtmlContentSupported,
        })),
        powerbox_categories: withSequence(1, { id: "dunning_placeholders", name: _t("Placeholders") }),
        powerbox_items: this.placeholders.map(([expression]) => ({
            categoryId: "dunning_placeholders",
            commandId: `insertDunningPlaceholder:${expression}`,
        })),
        normalize_handlers: (root) => labelPlaceholders(root, this.config.dunningPlaceholders),
        clean_for_save_handlers: ({ root }) => this.unlabel(root),
        clipboard_content_processors: this.unlabel.bind(this),
        system_attributes: [LABEL],
    };

    get placeholders() {
        return Object.entries(this.config.dunningPlaceholders || {});
    }

    insert(expression) {
        const placeholder = this.document.createElement("T");
        placeholder.setAttribute("t-out", expression);
        this.dependencies.dom.insert(placeholder);
        this.dependencies.history.addStep();
    }

    unlabel(root) {
        for (const element of root.querySelectorAll(`[${LABEL}]`)) {
            element.removeAttribute(LABEL);
        }
    }
}

/** An HTML editor for dunning texts, plain enough for mail and letter. */
export class DunningTextField extends HtmlField {
    getConfig() {
        const config = super.getConfig();
        return {
            ...config,
            Plugins: [...config.Plugins, QWebPlugin, DunningPlaceholderPlugin],
            dunningPlaceholders: this.props.record.data.placeholders,
        };
    }

    getReadonlyConfig() {
        const config = super.getReadonlyConfig();
        const { body } = new DOMParser().parseFromString(config.value, "text/html");
        labelPlaceholders(body, this.props.record.data.placeholders);
        return { ...config, value: markup(body.innerHTML) };
    }
}

registry.category("fields").add("dunning_text", {
    ...htmlField,
    component: DunningTextField,
    additionalClasses: ["o_field_html"],
    fieldDependencies: [{ name: "placeholders", type: "json" }],
    extractProps({ attrs, options }, dynamicInfo) {
        const props = htmlField.extractProps({ attrs, options }, dynamicInfo);
        Object.assign(props.editorConfig, {
            allowImage: false, allowFile: false, allowVideo: false, allowChecklist: false, allowMediaDocuments: false,
        });
        // What the editor would add for its own upgrades ends up in letters and mails.
        return { ...props, embeddedComponents: false, migrateHTML: false };
    },
});
