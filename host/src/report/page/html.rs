//! The page: one file that asks for nothing else.
//!
//! Its content security policy allows its own style sheet and script by their hashes, and nothing else: whatever a name
//! holds, it is text.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::draw::{Use, draw};
use super::escape::escape;
use super::figure::Figure;
use super::marks::swatch;
use super::palette::{DARK, LIGHT};
use super::table::Table;
use crate::report::analysis::Counts;

const SCRIPT: &str = include_str!("page.js");
static STYLE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}{}@media (prefers-color-scheme:dark){{{}}}@media print{{{}}}",
        include_str!("page.css"),
        LIGHT.figure_css(),
        DARK.figure_css(),
        LIGHT.figure_css()
    )
});

/// What stands on the page.
pub struct Page<'a> {
    /// What the report is about.
    pub title: &'a str,
    pub counts: &'a Counts,
    pub cells: usize,
    /// Sentences that come first.
    pub findings: &'a [String],
    pub figures: &'a [Figure],
    /// Those of results, and those of provenance.
    pub tables: &'a [Table],
    pub provenance: &'a [Table],
    /// Seconds after which the page loads itself again, where it is still being written.
    pub reload: Option<u64>,
}

impl Page<'_> {
    pub fn html(&self) -> String {
        let mut html = String::new();
        self.head(&mut html);
        self.summary(&mut html);
        html.push_str("<main><h2 id=\"figures\">Figures</h2><div class=\"figures\">\n");
        for figure in self.figures {
            self::figure(&mut html, figure);
        }
        html.push_str("</div>\n");
        for table in self.tables.iter().chain(self.provenance) {
            html.push_str(&table.html());
        }
        push!(
            html,
            "</main><div id=\"tip\" role=\"tooltip\" hidden></div><script>{SCRIPT}</script></body></html>\n"
        );
        html
    }

    fn head(&self, html: &mut String) {
        let title = escape(self.title);
        push!(
            html,
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src '{}'; script-src '{}'; \
             img-src data:; base-uri 'none'; form-action 'none'\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"referrer\" content=\"no-referrer\">",
            hash(&STYLE),
            hash(SCRIPT)
        );
        if let Some(seconds) = self.reload {
            push!(
                html,
                "<noscript><meta http-equiv=\"refresh\" content=\"{seconds}\"></noscript>"
            );
        }
        push!(
            html,
            "<link rel=\"icon\" href=\"data:,\"><title>{title} - lorahost</title><style>{}</style></head>\n",
            STYLE.as_str()
        );
        match self.reload {
            Some(seconds) => push!(html, "<body data-reload=\"{seconds}\">"),
            None => html.push_str("<body>"),
        }
        push!(html, "<header><h1>{title}</h1>");
    }

    fn summary(&self, html: &mut String) {
        let Counts {
            completed,
            diverged,
            failed,
            unfinished,
            not_begun,
        } = self.counts;
        html.push_str("<ul class=\"counts\">");
        push!(html, "<li><b>{}</b>cells</li>", self.cells);
        for (count, how) in [
            (completed, "completed"),
            (diverged, "diverged"),
            (failed, "failed"),
            (unfinished, "unfinished"),
        ] {
            push!(html, "<li><b>{count}</b>{how}</li>");
        }
        if *not_begun > 0 {
            push!(html, "<li><b>{not_begun}</b>not begun</li>");
        }
        html.push_str("</ul>");
        for finding in self.findings {
            push!(html, "<p>{}</p>", escape(finding));
        }
        if let Some(seconds) = self.reload {
            push!(
                html,
                "<p class=\"note\">This page is being rewritten as runs end, and loads itself every {seconds} s.</p>"
            );
        }
        html.push_str("<nav><a href=\"#figures\">Figures</a>");
        for table in self.tables.iter().chain(self.provenance) {
            push!(
                html,
                "<a href=\"#{}\">{}</a>",
                table.name,
                escape(&table.title)
            );
        }
        html.push_str("</nav></header>\n");
    }
}

fn figure(html: &mut String, figure: &Figure) {
    push!(
        html,
        "<figure id=\"{}\"><figcaption>{}<p>{}</p></figcaption>",
        escape(&figure.name),
        escape(&figure.title),
        escape(&figure.note)
    );
    html.push_str(&draw(figure, Use::Page));
    html.push_str("<div class=\"legend\">");
    for series in &figure.series {
        push!(
            html,
            "<button type=\"button\" aria-pressed=\"true\" data-s=\"{}\">{}{}</button>",
            escape(&series.id),
            swatch(series.look),
            escape(&series.label)
        );
    }
    html.push_str("</div></figure>\n");
}

/// As a content security policy names what it allows.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(title: &str, reload: Option<u64>) -> String {
        let findings = [format!("{title} is best")];
        Page {
            title,
            counts: &Counts::default(),
            cells: 0,
            findings: &findings,
            figures: &[],
            tables: &[],
            provenance: &[],
            reload,
        }
        .html()
    }

    #[test]
    fn the_policy_allows_what_is_there_and_names_are_text() {
        let html = page("<script>alert(1)</script>", None);
        assert_eq!(html.matches("<script").count(), 1, "its own");
        assert_eq!(html.matches("<style").count(), 1);
        let between = |start: &str, end: &str| {
            let from = html.find(start).unwrap() + start.len();
            html[from..].split(end).next().unwrap().to_owned()
        };
        assert!(html.contains(&hash(&between("<script>", "</script>"))));
        assert!(html.contains(&hash(&between("<style>", "</style>"))));
        assert!(!html.contains(" style=") && !html.contains("onclick"));
    }

    #[test]
    fn a_page_that_is_being_written_loads_itself() {
        assert!(page("a", Some(5)).contains("<body data-reload=\"5\">"));
        assert!(!page("a", None).contains("reload=\""));
    }
}
