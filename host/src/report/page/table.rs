//! Tables as data, and as HTML, Markdown and CSV.

use super::escape::escape;

/// A table. All its forms hold the same rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Name of its file and of its place on the page.
    pub name: &'static str,
    pub title: String,
    /// What one has to know to read it.
    pub note: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub title: String,
    /// Its columns in CSV, where figures have all their digits.
    pub csv: &'static [&'static str],
    /// Figures stand on the right.
    pub right: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What links lead to.
    pub anchor: Option<String>,
    /// One a column.
    pub cells: Vec<Cell>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cell {
    pub pieces: Vec<Piece>,
    /// One a column of CSV.
    pub exact: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    pub text: String,
    /// Where it leads: an anchor of the page, or a path relative to it.
    pub href: Option<String>,
}

/// What stands where there is nothing.
const NONE: &str = "–";

impl Column {
    pub fn text(title: &str, csv: &'static [&'static str]) -> Self {
        Self {
            title: title.to_owned(),
            csv,
            right: false,
        }
    }

    pub fn figure(title: &str, csv: &'static [&'static str]) -> Self {
        Self {
            right: true,
            ..Self::text(title, csv)
        }
    }
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            exact: vec![text.clone()],
            pieces: vec![Piece { text, href: None }],
        }
    }

    /// A figure as it is shown, and with all its digits.
    pub fn figure(value: Option<f64>, shown: impl Fn(f64) -> String) -> Self {
        let Some(value) = value else {
            return Self::none(1);
        };
        Self {
            exact: vec![value.to_string()],
            ..Self::text(shown(value))
        }
    }

    /// Nothing, in so many columns of CSV.
    pub fn none(columns: usize) -> Self {
        Self {
            pieces: Vec::new(),
            exact: vec![String::new(); columns],
        }
    }

    /// With a link, if there is a text for it.
    pub fn linked(mut self, href: Option<String>) -> Self {
        if let [piece] = self.pieces.as_mut_slice() {
            piece.href = href;
        }
        self
    }
}

impl Table {
    pub fn html(&self) -> String {
        let mut html = format!(
            "<section id=\"{}\"><h2>{}</h2>",
            self.name,
            escape(&self.title)
        );
        if !self.note.is_empty() {
            push!(html, "<p class=\"note\">{}</p>", escape(&self.note));
        }
        html.push_str("<div class=\"scroll\" tabindex=\"0\"><table><thead><tr>");
        for column in &self.columns {
            push!(html, "<th{}>{}</th>", class(column), escape(&column.title));
        }
        html.push_str("</tr></thead><tbody>\n");
        for row in &self.rows {
            match &row.anchor {
                Some(anchor) => push!(html, "<tr id=\"{}\">", escape(anchor)),
                None => html.push_str("<tr>"),
            }
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                push!(html, "<td{}>", class(column));
                for (index, piece) in cell.pieces.iter().enumerate() {
                    if index > 0 {
                        html.push(' ');
                    }
                    let text = escape(&piece.text);
                    match &piece.href {
                        Some(href) => push!(html, "<a href=\"{}\">{text}</a>", escape(href)),
                        None => html.push_str(&text),
                    }
                }
                html.push_str("</td>");
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div></section>\n");
        html
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n", plain(&self.title));
        if !self.note.is_empty() {
            push!(text, "{}\n\n", plain(&self.note));
        }
        let titles: Vec<String> = self
            .columns
            .iter()
            .map(|column| plain(&column.title))
            .collect();
        let rules: Vec<&str> = self
            .columns
            .iter()
            .map(|c| if c.right { "--:" } else { "---" })
            .collect();
        push!(text, "| {} |\n|{}|\n", titles.join(" | "), rules.join("|"));
        for row in &self.rows {
            let cells: Vec<String> = row.cells.iter().map(|cell| plain(&cell.shown())).collect();
            push!(text, "| {} |\n", cells.join(" | "));
        }
        text
    }

    /// With a line of names; lines end as RFC 4180 wants.
    pub fn csv(&self) -> String {
        let names = self.columns.iter().flat_map(|column| column.csv);
        let mut text = line(names.copied());
        for row in &self.rows {
            let exact = self.columns.iter().zip(&row.cells);
            let exact = exact
                .flat_map(|(column, cell)| &cell.exact[..column.csv.len().min(cell.exact.len())]);
            text.push_str(&line(exact.map(String::as_str)));
        }
        text
    }
}

impl Cell {
    fn shown(&self) -> String {
        let pieces: Vec<&str> = self
            .pieces
            .iter()
            .map(|piece| piece.text.as_str())
            .collect();
        match pieces.as_slice() {
            [] => NONE.to_owned(),
            pieces => pieces.join(" "),
        }
    }
}

fn class(column: &Column) -> &'static str {
    if column.right { " class=\"n\"" } else { "" }
}

/// Text within a table of Markdown: on one line, and nothing of it markup.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' => {
                plain.push('\\');
                plain.push(c);
            }
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '&' => plain.push_str("&amp;"),
            c if c.is_control() => plain.push(' '),
            c => plain.push(c),
        }
    }
    plain
}

fn line<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    let fields: Vec<String> = fields.map(field).collect();
    format!("{}\r\n", fields.join(","))
}

/// A text that a spreadsheet would take for a formula gets a quote before it.
fn field(text: &str) -> String {
    let formula =
        text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    let text = if formula {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Table {
        Table {
            name: "t",
            title: "T".to_owned(),
            note: String::new(),
            columns: vec![
                Column::text("cell", &["cell"]),
                Column::figure("lr", &["lr"]),
            ],
            rows: vec![Row {
                anchor: Some("c0".to_owned()),
                cells: vec![
                    Cell::text(name).linked(Some("#p0".to_owned())),
                    Cell::figure(Some(1.0 / 3.0), |value| format!("{value:.2}")),
                ],
            }],
        }
    }

    #[test]
    fn one_table_in_three_forms() {
        let table = table("full");
        let html = table.html();
        assert!(html.contains(
            "<tr id=\"c0\"><td><a href=\"#p0\">full</a></td><td class=\"n\">0.33</td></tr>"
        ));
        assert!(
            table
                .markdown()
                .ends_with("| cell | lr |\n|---|--:|\n| full | 0.33 |\n")
        );
        assert_eq!(table.csv(), "cell,lr\r\nfull,0.3333333333333333\r\n");
    }

    #[test]
    fn names_are_text_in_each_of_them() {
        let table = table("=<b>a|b\n\"c\"</b>");
        assert!(
            table
                .html()
                .contains("=&lt;b&gt;a|b\n&quot;c&quot;&lt;/b&gt;")
        );
        assert!(
            table
                .markdown()
                .contains("| =&lt;b&gt;a\\|b \"c\"&lt;/b&gt; |")
        );
        assert!(table.csv().contains("\"'=<b>a|b\n\"\"c\"\"</b>\","));
    }
}
