//! Stop strings, also where one is spread over several tokens.

/// Watches the text of an answer for stop strings and holds back only what may still become one.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    /// The end of the text that a stop string may begin in; shorter than the longest of them.
    held: String,
}

/// What became of a piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopVerdict {
    /// Go on.
    Continue,
    /// This stop string was met: the answer ends before it.
    Stopped(String),
}

impl StopStrings {
    /// Watches for these; an empty string never stops anything.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Takes the next piece of text and appends to `out` what is certainly part of the answer. When several stop
    /// strings are met, the one that is complete first counts, and among those that end together the longest; so the
    /// result does not depend on how the text is cut into pieces.
    pub fn push(&mut self, piece: &str, out: &mut String) -> StopVerdict {
        if self.stops.is_empty() {
            out.push_str(piece);
            return StopVerdict::Continue;
        }
        self.held.push_str(piece);
        let met = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at, stop)))
            .min_by_key(|(end, at, _)| (*end, *at));
        if let Some((_, at, stop)) = met {
            out.push_str(&self.held[..at]);
            let stop = stop.clone();
            self.held.clear();
            return StopVerdict::Stopped(stop);
        }
        let free = self.held.len() - self.longest_open_end();
        out.push_str(&self.held[..free]);
        self.held.drain(..free);
        StopVerdict::Continue
    }

    /// Appends what was held back, when no more text comes.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }

    /// Bytes at the end of the held text that are the beginning of a stop string.
    fn longest_open_end(&self) -> usize {
        self.stops
            .iter()
            .map(|stop| {
                (1..stop.len().min(self.held.len() + 1))
                    .rev()
                    .find(|n| stop.is_char_boundary(*n) && self.held.ends_with(&stop[..*n]))
                    .unwrap_or(0)
            })
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let mut watch = StopStrings::new(&stops.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        let mut out = String::new();
        for piece in pieces {
            if let StopVerdict::Stopped(stop) = watch.push(piece, &mut out) {
                return (out, Some(stop));
            }
        }
        watch.finish(&mut out);
        (out, None)
    }

    #[test]
    fn a_stop_string_may_cross_pieces() {
        assert_eq!(run(&["\n\n"], &["a\n", "\nb"]), ("a".into(), Some("\n\n".into())));
        assert_eq!(run(&["END"], &["xE", "N", "d"]), ("xENd".into(), None));
        assert_eq!(run(&["abc", "b"], &["abc"]), ("a".into(), Some("b".into())));
        assert_eq!(run(&["bc", "abc"], &["xabc"]), ("x".into(), Some("abc".into())));
        assert_eq!(run(&[""], &["abc"]), ("abc".into(), None));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), ("a".into(), Some("aab".into())));
    }

    #[test]
    fn only_what_may_become_a_stop_string_is_held_back() {
        let mut watch = StopStrings::new(&["END".to_owned()]);
        let mut out = String::new();
        watch.push("the E", &mut out);
        assert_eq!(out, "the ");
        watch.push("lk", &mut out);
        assert_eq!(out, "the Elk");
    }

    proptest! {
        #[test]
        fn the_cut_does_not_matter(
            text in "[abé]{0,20}",
            stops in proptest::collection::vec("[abé]{1,3}", 1..4),
            size in 1usize..5,
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let chars: Vec<char> = text.chars().collect();
            let pieces: Vec<String> = chars.chunks(size).map(|c| c.iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let whole = run(&stops, &[&text]);
            prop_assert_eq!(&run(&stops, &pieces), &whole);
            for stop in &stops {
                prop_assert!(!whole.0.contains(stop));
            }
            match &whole.1 {
                Some(stop) => {
                    let shown = format!("{}{stop}", whole.0);
                    prop_assert!(text.starts_with(&shown));
                }
                None => prop_assert_eq!(&whole.0, &text),
            }
        }
    }
}
