//! Tables without lines.

use crate::style::Style;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, presets};

/// A table: a dim head, rows, columns set apart by blanks.
#[derive(Debug)]
pub(crate) struct Table {
    table: comfy_table::Table,
    style: Style,
}

/// How a cell is painted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paint {
    /// Not at all.
    Plain,
    /// As a name that is typed in commands.
    Name,
    /// As the state of an actor.
    State,
}

impl Table {
    /// A table with these column names.
    pub(crate) fn new(columns: &[&str], style: Style) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        if style.colours {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table.set_header(columns.iter().map(|name| Cell::new(name).add_attribute(Attribute::Dim)));
        Self { table, style }
    }

    /// Appends a row. The cells must be clean.
    pub(crate) fn row(&mut self, cells: Vec<(String, Paint)>) {
        let colours = self.style.colours;
        self.table.add_row(cells.into_iter().map(|(text, paint)| {
            let colour = match paint {
                Paint::Plain => None,
                Paint::Name => Some(Color::DarkCyan),
                Paint::State => Style::state_colour(&text),
            };
            match colour.filter(|_| colours) {
                Some(colour) => Cell::new(text).fg(colour),
                None => Cell::new(text),
            }
        }));
    }

    /// The table as text, without blanks at the ends of lines.
    pub(crate) fn text(&self) -> String {
        self.table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}
