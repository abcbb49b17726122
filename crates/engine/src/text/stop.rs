//! Stop strings, also where one is spread over several tokens.

/// Watches the text of an answer for stop strings and holds back only what may still become one.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    /// The end of the text that a stop string may begin in; shorter than the longest of them.
    held: String,
    /// Bytes at the beginning of the held text that were shown before this watch began.
    n_shown: usize,
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
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new(), n_shown: 0 }
    }

    /// Takes the beginning of an answer that was shown already: a stop string may begin in it and end in what comes,
    /// and nothing of it is given out again.
    pub fn resume(&mut self, shown: &str) -> StopVerdict {
        let verdict = self.push(shown, &mut String::new());
        self.n_shown = self.held.len();
        verdict
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
            let stop = stop.clone();
            self.give(at, out);
            self.held.clear();
            return StopVerdict::Stopped(stop);
        }
        let free = self.held.len() - self.longest_open_end();
        self.give(free, out);
        StopVerdict::Continue
    }

    /// Appends what was held back, when no more text comes.
    pub fn finish(&mut self, out: &mut String) {
        self.give(self.held.len(), out);
    }

    /// Moves the first bytes of the held text to `out`, without those that were shown before.
    fn give(&mut self, n_bytes: usize, out: &mut String) {
        let n_shown = self.n_shown.min(n_bytes);
        out.push_str(&self.held[n_shown..n_bytes]);
        self.n_shown -= n_shown;
        self.held.drain(..n_bytes);
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
    fn a_stop_string_may_begin_in_what_was_shown() {
        let mut watch = StopStrings::new(&["END".to_owned()]);
        let mut out = String::new();
        assert_eq!(watch.resume("so far EN"), StopVerdict::Continue);
        assert_eq!(watch.clone().push("D more", &mut out), StopVerdict::Stopped("END".into()));
        assert_eq!(out, "");
        assert_eq!(watch.push("JOY E", &mut out), StopVerdict::Continue);
        assert_eq!(out, "JOY ", "nothing is given out twice");
        watch.finish(&mut out);
        assert_eq!(out, "JOY E");
        assert_eq!(StopStrings::new(&["so".to_owned()]).resume("so far"), StopVerdict::Stopped("so".into()));
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
        fn what_was_shown_and_what_comes_are_the_whole(
            text in "[ab]{0,14}",
            cut in 0usize..14,
            stops in proptest::collection::vec("[ab]{1,4}", 0..3),
        ) {
            let (shown, more) = text.split_at(cut.min(text.len()));
            let mut watch = StopStrings::new(&stops);
            prop_assume!(watch.resume(shown) == StopVerdict::Continue);
            let mut out = shown.to_owned();
            let stopped = watch.push(more, &mut out) != StopVerdict::Continue;
            if !stopped {
                watch.finish(&mut out);
                prop_assert_eq!(&out, &text);
            }
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (whole, stop) = run(&stops, &[&text]);
            prop_assert_eq!(stopped, stop.is_some());
            // What is shown cannot be taken back.
            prop_assert_eq!(out, if whole.len() < shown.len() { shown.to_owned() } else { whole });
        }

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
