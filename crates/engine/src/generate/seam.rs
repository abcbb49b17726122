//! Where text that somebody else wrote meets the first token of this model.

/// The joint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seam {
    /// The text so far ends with the blank that most tokens of words begin with.
    ends_with_blank: bool,
}

impl Seam {
    /// The joint after this text. Blanks at the beginning of a line are no word's blank: they indent.
    pub(super) fn after(answer_so_far: &str) -> Self {
        let before = answer_so_far.strip_suffix(' ');
        let ends_with_blank = before.is_some_and(|before| before.ends_with(|c: char| !c.is_whitespace()));
        Self { ends_with_blank }
    }

    /// The first text after it, without a blank that is there already.
    pub(super) fn join(self, text: String) -> String {
        match text.strip_prefix(' ') {
            Some(rest) if self.ends_with_blank => rest.to_owned(),
            _ => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_blank_stays_one_and_none_is_lost() {
        for (before, text, joined) in [
            ("The", " cat", " cat"),
            ("The ", " cat", "cat"),
            ("The ", "cat", "cat"),
            ("The ", "  cat", " cat"),
            ("a ca", "t", "t"),
            ("if x:\n ", " y", " y"),
            ("line\n", " indented", " indented"),
            ("two  ", " more", " more"),
            (" ", " a", " a"),
        ] {
            assert_eq!(Seam::after(before).join(text.into()), joined, "{before:?} {text:?}");
        }
    }
}
