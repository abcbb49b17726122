//! The byte-level alphabet: byte-level BPE writes every byte as one printable character, so that a vocabulary can be
//! kept as text.
//!
//! Source: the table that GPT-2's tokenizer introduced; printable Latin-1 bytes stand for themselves, the others take
//! the characters from U+0100 on, in order.

use std::sync::LazyLock;

/// The character of each byte.
static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        if matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) {
            char::from(byte as u8)
        } else {
            next += 1;
            char::from_u32(next - 1).expect("U+0100 to U+0143 are characters")
        }
    })
});

/// The byte of each character below U+0144.
static BYTES: LazyLock<[Option<u8>; 0x144]> = LazyLock::new(|| {
    let mut bytes = [None; 0x144];
    for (byte, c) in CHARS.iter().enumerate() {
        bytes[*c as usize] = Some(byte as u8);
    }
    bytes
});

/// The character that stands for a byte.
pub(crate) fn char_of(byte: u8) -> char {
    CHARS[usize::from(byte)]
}

/// The bytes that a token of the vocabulary stands for; `None` when it holds a character outside the alphabet.
pub(super) fn bytes_of(token: &str) -> Option<Vec<u8>> {
    token.chars().map(|c| BYTES.get(c as usize).copied().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character_and_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let written: String = all.iter().map(|byte| char_of(*byte)).collect();
        assert_eq!(bytes_of(&written).unwrap(), all);
        assert_eq!((char_of(b' '), char_of(b'\n'), char_of(b'a')), ('Ġ', 'Ċ', 'a'));
        assert_eq!(bytes_of("a\u{2581}"), None);
    }
}
