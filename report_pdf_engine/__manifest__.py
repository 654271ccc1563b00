{
    "name": "Report PDF Engine",
    "summary": "A choice for each report of what makes its PDF: wkhtmltopdf, PlutoPrint or WeasyPrint",
    "version": "19.0.1.0.0",
    "category": "Technical",
    "author": "dunning_mail contributors",
    "license": "LGPL-3",
    "depends": ["web"],
    "data": [
        "views/ir_actions_report_views.xml",
    ],
    "assets": {
        "web.assets_backend": [
            "report_pdf_engine/static/src/**/*",
        ],
    },
    "external_dependencies": {"python": ["pypdf"]},
}
