//! Colours, or none.

use comfy_table::Color;

/// Paints text for a terminal; without colours it gives the text back as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Whether escape sequences may be written.
    pub(crate) colours: bool,
}

impl Style {
    /// No colours: pipes, files, `NO_COLOR`, dumb terminals.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colours: false };

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// The state of an actor or a model: green works, yellow will, red does not.
    pub(crate) fn state(self, state: &str) -> String {
        match Self::state_colour(state) {
            Some(Color::DarkGreen) => self.green(state),
            Some(Color::DarkYellow) => self.yellow(state),
            Some(_) => self.red(state),
            None => self.dim(state),
        }
    }

    /// The same for a table's cell.
    pub(crate) fn state_colour(state: &str) -> Option<Color> {
        match state {
            "ready" | "busy" | "available" => Some(Color::DarkGreen),
            "starting" | "loading" | "restarting" | "degraded" | "stopping" | "unknown" | "resting"
            | "circuit_open" => Some(Color::DarkYellow),
            "down" | "unavailable" => Some(Color::DarkRed),
            _ => None,
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colours && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Whether a stream may be coloured: a terminal that is not dumb, and nobody said no. `NO_COLOR` counts when it is
/// set and not empty.
///
/// Source: <https://no-color.org>
pub(crate) fn may_colour(is_terminal: bool, no_color: Option<&str>, term: Option<&str>) -> bool {
    is_terminal && no_color.is_none_or(str::is_empty) && term != Some("dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_terminal_and_no_objection() {
        assert!(may_colour(true, None, Some("xterm-256color")));
        assert!(may_colour(true, Some(""), None));
        assert!(!may_colour(false, None, Some("xterm-256color")));
        assert!(!may_colour(true, Some("1"), Some("xterm-256color")));
        assert!(!may_colour(true, None, Some("dumb")));
    }

    #[test]
    fn without_colours_nothing_is_added() {
        assert_eq!(Style::PLAIN.state("down"), "down");
        assert_eq!(Style { colours: true }.red("x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Style { colours: true }.red(""), "");
    }
}
