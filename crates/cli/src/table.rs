//! Tables without lines.

use crate::style::Style;
use comfy_table::{ContentArrangement, presets};

/// A table: a dim head, rows, columns set apart by blanks.
#[derive(Debug)]
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table with these column names.
    pub(crate) fn new(columns: &[&str], style: Style) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.iter().map(|name| style.dim(name)));
        Self(table)
    }

    /// Appends a row. The cells must be clean.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.0.add_row(cells);
    }

    /// The table as text, without blanks at the ends of lines.
    pub(crate) fn text(&self) -> String {
        self.0.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}
