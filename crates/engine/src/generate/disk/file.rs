//! One file of keys and values: what it looks like, and why a damaged one is never believed.
//!
//! A header of [`HEADER_BYTES`] with a checksum of its own, then the tokens (four bytes each, little end first) and the
//! backend's bytes as one stream, cut into parts of [`PART_BYTES`]. Each part is followed by a checksum of the part and of
//! its number, and is handed out only when that is right. CRC-32 finds every burst of 32 bits and misses another damage of
//! such a part once in four billion.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"boca-kv\0";
/// Of this layout.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;
const PART_BYTES: usize = 1 << 20;
const SUM_BYTES: u64 = 4;

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Of checkpoint, text files, engine and format.
    pub(super) fingerprint: u64,
    pub(super) n_tokens: u64,
    /// Bytes of keys and values.
    pub(super) n_bytes: u64,
}

impl Header {
    /// Bytes of the whole file; `None` when no file can be so long.
    pub(super) fn file_bytes(&self) -> Option<u64> {
        let content = self.n_tokens.checked_mul(4)?.checked_add(self.n_bytes)?;
        let sums = content.div_ceil(PART_BYTES as u64).checked_mul(SUM_BYTES)?;
        content.checked_add(sums)?.checked_add(HEADER_BYTES as u64)
    }

    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.fingerprint.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.n_tokens.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.n_bytes.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> io::Result<Self> {
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        let header = Self { fingerprint: number(16), n_tokens: number(24), n_bytes: number(32) };
        // Everything else in it is a constant or a sum.
        if header.to_bytes() == *bytes {
            Ok(header)
        } else {
            Err(damaged("the header is not one of this version"))
        }
    }
}

/// Writes a file's content.
pub(super) fn write(
    to: &mut dyn Write,
    fingerprint: u64,
    tokens: &[u32],
    n_bytes: u64,
    content: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let header = Header { fingerprint, n_tokens: tokens.len() as u64, n_bytes };
    to.write_all(&header.to_bytes())?;
    let mut parts = PartWriter { to, part: Vec::with_capacity(PART_BYTES), number: 0 };
    for token in tokens {
        parts.write_all(&token.to_le_bytes())?;
    }
    content(&mut parts)?;
    parts.end_part()
}

/// Opens a file and reads its header; its length is what the header says.
pub(super) fn open(path: &Path) -> io::Result<(Header, File)> {
    let mut file = File::open(path)?;
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact(&mut bytes)?;
    let header = Header::from_bytes(&bytes)?;
    let found = file.metadata()?.len();
    if header.file_bytes() != Some(found) {
        return Err(damaged(&format!("the file has {found} bytes, which is not what its header says")));
    }
    Ok((header, file))
}

/// The tokens of a file whose header was read; what is read from the second part on are the backend's bytes.
pub(super) fn tokens(header: &Header, file: File) -> io::Result<(Vec<u32>, impl Read)> {
    let left = header.n_tokens * 4 + header.n_bytes;
    let mut parts = PartReader { from: BufReader::new(file), part: Vec::new(), at: 0, number: 0, left };
    // Read in small parts, so that memory is taken only for what is really there.
    let mut tokens = Vec::new();
    let mut four = [0; 4];
    for _ in 0..header.n_tokens {
        parts.read_exact(&mut four)?;
        tokens.push(u32::from_le_bytes(four));
    }
    Ok((tokens, parts))
}

struct PartWriter<'a> {
    to: &'a mut dyn Write,
    part: Vec<u8>,
    number: u64,
}

impl PartWriter<'_> {
    fn end_part(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        self.to.write_all(&self.part)?;
        self.to.write_all(&sum_of(self.number, &self.part).to_le_bytes())?;
        self.part.clear();
        self.number += 1;
        Ok(())
    }
}

impl Write for PartWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(PART_BYTES - self.part.len());
        self.part.extend_from_slice(&bytes[..n]);
        if self.part.len() == PART_BYTES {
            self.end_part()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands out only what has a right checksum.
struct PartReader<R> {
    from: R,
    part: Vec<u8>,
    at: usize,
    number: u64,
    /// Bytes of parts that were not read yet.
    left: u64,
}

impl<R: Read> Read for PartReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.part.len() && self.left > 0 {
            let n = self.left.min(PART_BYTES as u64);
            self.at = 0;
            self.part.resize(n as usize, 0);
            self.from.read_exact(&mut self.part)?;
            let mut sum = [0; SUM_BYTES as usize];
            self.from.read_exact(&mut sum)?;
            if u32::from_le_bytes(sum) != sum_of(self.number, &self.part) {
                self.left = 0;
                self.part.clear();
                return Err(damaged("a checksum is wrong"));
            }
            self.left -= n;
            self.number += 1;
        }
        let n = out.len().min(self.part.len() - self.at);
        out[..n].copy_from_slice(&self.part[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

fn sum_of(number: u64, part: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(part);
    hasher.finalize()
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}
