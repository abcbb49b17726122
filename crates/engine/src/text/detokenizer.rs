//! Token bytes become text while they arrive, in whole characters only.

/// What invalid bytes become.
const REPLACEMENT: &str = "\u{fffd}";

/// Turns a stream of token bytes into text. All the text it gives, put together, is what
/// [`String::from_utf8_lossy`] makes of all the bytes; it holds back at most three of them.
#[derive(Debug, Default, Clone)]
pub struct Detokenizer {
    /// The beginning of a character that is not complete yet.
    pending: Vec<u8>,
}

impl Detokenizer {
    /// Appends to `text` what is certain after `bytes`.
    pub fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.pending.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            let rest = &self.pending[done..];
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    done = self.pending.len();
                    break;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(std::str::from_utf8(&rest[..valid]).expect("checked by the line above"));
                    done += valid;
                    // `None`: the bytes so far can still become a character.
                    let Some(invalid) = error.error_len() else { break };
                    text.push_str(REPLACEMENT);
                    done += invalid;
                }
            }
        }
        self.pending.drain(..done);
    }

    /// Appends what is left when no more bytes come: an incomplete character shows as U+FFFD.
    pub fn finish(&mut self, text: &mut String) {
        if !self.pending.is_empty() {
            text.push_str(REPLACEMENT);
            self.pending.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn streamed(chunks: &[&[u8]]) -> Vec<String> {
        let mut detokenizer = Detokenizer::default();
        let mut parts: Vec<String> = chunks
            .iter()
            .map(|chunk| {
                let mut text = String::new();
                detokenizer.push(chunk, &mut text);
                text
            })
            .collect();
        let mut rest = String::new();
        detokenizer.finish(&mut rest);
        parts.push(rest);
        parts
    }

    #[test]
    fn half_a_character_waits_for_the_other_half() {
        assert_eq!(streamed(&[b"a\xe2\x82", b"\xac b"]), ["a", "€ b", ""]);
        assert_eq!(streamed(&[b" \xf0\x9f", b"\x99", b"\x82"]), [" ", "", "🙂", ""]);
    }

    #[test]
    fn bytes_that_can_never_be_a_character_become_one_replacement() {
        assert_eq!(streamed(&[b"\xff", b"a"]), ["\u{fffd}", "a", ""]);
        assert_eq!(streamed(&[b"a\xe2\x82"]), ["a", "\u{fffd}"]);
    }

    proptest! {
        #[test]
        fn the_parts_are_the_lossy_whole(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(0xe2), Just(0x82), Just(0xac), Just(0xf0), Just(0x9f), Just(b' ')],
                0..60,
            ),
            cuts in proptest::collection::vec(0usize..8, 1..60),
        ) {
            let mut chunks = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(head);
                rest = tail;
            }
            chunks.push(rest);
            prop_assert_eq!(streamed(&chunks).concat(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn good_text_never_shows_a_replacement(text in "\\PC{0,40}", size in 1usize..4) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let parts = streamed(&chunks);
            let shows_replacement = parts.iter().any(|part| part.contains(REPLACEMENT));
            prop_assert_eq!(shows_replacement, text.contains(REPLACEMENT));
            prop_assert_eq!(parts.concat(), text);
        }
    }
}
