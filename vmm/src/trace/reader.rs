//! Reads a trace, line by line: of a long one no more than a line is in memory.

use super::jsonl::is_compressed;
use super::schema::{FORMAT, HeaderRecord, Record, VERSION};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use thiserror::Error;

/// Longer than any line of a trace.
const LONGEST: usize = 16 << 20;
const CUT: &str = "it was cut off before that was whole";

/// Why a trace cannot be read on.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("the trace cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is no trace of this version.
    #[error("line {line} is no line of an esp0 trace ({reason})")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// A trace that is being read: an iterator over the records behind the header.
pub struct TraceReader<R> {
    input: R,
    header: HeaderRecord,
    header_line: Vec<u8>,
    line: Vec<u8>,
    number: usize,
    ended: bool,
    broken: bool,
    /// What it was compressed by has no end.
    cut: bool,
}

impl TraceReader<Box<dyn BufRead>> {
    /// The trace in a file; compressed if its name ends in `.zst`, or its first bytes say so.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be opened or has no header of this version.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::of_file(File::open(path)?, is_compressed(path))
    }

    /// The trace in an open file, or whatever else its bytes come from; compressed if the first of them say so, or
    /// it has to be.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read or has no header of this version.
    pub fn of_file(file: impl Read + 'static, compressed: bool) -> Result<Self, ReadError> {
        let mut file = BufReader::new(file);
        /// RFC 8878, section 3.1.1: Magic_Number.
        const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
        let compressed = compressed || file.fill_buf()?.starts_with(&MAGIC);
        let input: Box<dyn BufRead> = if compressed { decompressed(file)? } else { Box::new(file) };
        Self::new(input)
    }
}

#[cfg(feature = "program")]
fn decompressed(file: BufReader<impl Read + 'static>) -> io::Result<Box<dyn BufRead>> {
    Ok(Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?)))
}

#[cfg(not(feature = "program"))]
fn decompressed(_file: BufReader<impl Read>) -> io::Result<Box<dyn BufRead>> {
    Err(io::Error::other("this esp0 was built without Zstandard"))
}

impl<R: BufRead> TraceReader<R> {
    /// The trace that `input` has.
    ///
    /// # Errors
    /// [`ReadError`] if it has no header of this version.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let header = HeaderRecord::new();
        let mut reader = TraceReader {
            input,
            header,
            header_line: Vec::new(),
            line: Vec::new(),
            number: 0,
            ended: false,
            broken: false,
            cut: false,
        };
        if !reader.read_line()? {
            return Err(reader.malformed(&if reader.cut { CUT } else { "the file is empty" }));
        }
        if reader.cut && !reader.line.ends_with(b"\n") {
            return Err(reader.malformed(&CUT));
        }
        reader.header = reader.read_header()?;
        reader.header_line.clone_from(&reader.line);
        Ok(reader)
    }

    fn read_header(&self) -> Result<HeaderRecord, ReadError> {
        #[derive(serde::Deserialize)]
        struct Version {
            #[serde(default)]
            format: String,
            #[serde(default)]
            version: serde_json::Value,
        }
        let Version { format, version } =
            serde_json::from_slice(&self.line).map_err(|error| self.malformed(&error))?;
        if format != FORMAT {
            return Err(self.malformed(&"it has no header"));
        }
        if version.as_u64() != Some(VERSION.into()) {
            return Err(self.malformed(&format_args!(
                "its version is {version}, and this esp0 reads version {VERSION}: run the kernel again, or read it with the esp0 \
                 that wrote it"
            )));
        }
        match Record::from_line(&self.line).map_err(|error| self.malformed(&error))? {
            Some(Record::Header(header)) => Ok(header),
            _ => Err(self.malformed(&"it has no header")),
        }
    }

    /// The first line.
    pub fn header(&self) -> &HeaderRecord {
        &self.header
    }

    /// The first line as it is.
    pub fn header_line(&self) -> &[u8] {
        &self.header_line
    }

    /// The number of the line that was read last, from 1.
    pub fn line(&self) -> usize {
        self.number
    }

    /// The end has been read. A trace that has none when it has been read was cut off.
    pub fn is_whole(&self) -> bool {
        self.ended
    }

    /// Reads the next line; whether there is one.
    fn read_line(&mut self) -> Result<bool, ReadError> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.input).take(LONGEST as u64 + 1).read_until(b'\n', &mut self.line);
        let read = match read {
            // Zstandard's own end is missing: the trace was cut off, and what comes before that is as good as any.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.cut = true;
                self.line.len()
            }
            read => read?,
        };
        if self.line.len() > LONGEST {
            let reason = format_args!("it is longer than {} MiB", LONGEST >> 20);
            return Err(self.malformed(&reason));
        }
        Ok(read > 0)
    }

    fn malformed(&self, reason: &dyn std::fmt::Display) -> ReadError {
        ReadError::Malformed { line: self.number, reason: reason.to_string() }
    }

    /// The next record of a type that is known; none at the end of the file. A last line without its end, where a
    /// trace was cut off, counts as not there.
    ///
    /// # Errors
    /// [`ReadError`] if a line cannot be read.
    pub fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            match self.advance()? {
                Line::Known(record) => return Ok(Some(record)),
                Line::Unknown => {}
                Line::None => return Ok(None),
            }
        }
    }

    /// The next line as it is, its end of line included, whether its type is known or not; none as with
    /// [`TraceReader::next_record`].
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, ReadError> {
        match self.advance()? {
            Line::None => Ok(None),
            Line::Known(_) | Line::Unknown => Ok(Some(&self.line)),
        }
    }

    fn advance(&mut self) -> Result<Line, ReadError> {
        if !self.read_line()? {
            return Ok(Line::None);
        }
        if self.ended {
            return Err(self.malformed(&"it comes after the end"));
        }
        match Record::from_line(&self.line) {
            Ok(None) => Ok(Line::Unknown),
            Ok(Some(Record::Header(_))) => Err(self.malformed(&"it is a second header")),
            Ok(Some(record)) => {
                self.ended = matches!(record, Record::End(_));
                Ok(Line::Known(record))
            }
            Err(_) if !self.line.ends_with(b"\n") => Ok(Line::None),
            Err(error) => Err(self.malformed(&error)),
        }
    }
}

/// What a line holds.
enum Line {
    Known(Record),
    Unknown,
    /// There is none.
    None,
}

impl<R: BufRead> Iterator for TraceReader<R> {
    type Item = Result<Record, ReadError>;

    /// As [`TraceReader::next_record`]; nothing comes after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        let next = self.next_record();
        self.broken = next.is_err();
        next.transpose()
    }
}

impl<R> std::fmt::Debug for TraceReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TraceReader at line {} of {:?}", self.number, self.header.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::samples;
    use super::*;

    fn whole() -> Vec<u8> {
        samples::all().iter().flat_map(Record::to_line).collect()
    }

    fn read(bytes: &[u8]) -> Result<(Vec<Record>, bool), String> {
        let mut reader = TraceReader::new(bytes).map_err(|error| error.to_string())?;
        let mut records = vec![Record::Header(reader.header().clone())];
        while let Some(record) = reader.next_record().map_err(|error| error.to_string())? {
            records.push(record);
        }
        Ok((records, reader.is_whole()))
    }

    #[test]
    fn a_trace_is_read_back_as_it_was_written() {
        assert_eq!(read(&whole()), Ok((samples::all(), true)));
    }

    #[test]
    fn a_trace_that_was_cut_off_is_read_as_far_as_it_goes_and_told_apart() {
        let bytes = whole();
        let end = bytes.len() - samples::all().last().unwrap().to_line().len();
        let mut expected = samples::all();
        expected.pop();
        for cut in [end, end + 1, bytes.len() - 2] {
            assert_eq!(read(&bytes[..cut]), Ok((expected.clone(), false)), "{cut}");
        }
    }

    #[cfg(feature = "program")]
    #[test]
    fn a_compressed_trace_that_was_cut_off_is_read_as_far_as_it_goes() {
        let mut all = samples::all();
        let end = all.pop().unwrap();
        let middle = all.split_off(1);
        // More than a block of Zstandard has, which is 128 KiB, and no two lines alike to it.
        let repeated = || middle.iter().flat_map(Record::to_line);
        let mut bytes = all[0].to_line();
        while bytes.len() < 1 << 20 {
            bytes.extend(repeated());
        }
        bytes.extend(end.to_line());
        let packed = zstd::encode_all(&*bytes, 1).unwrap();
        let open = |length: usize| {
            let file = io::Cursor::new(packed[..length].to_vec());
            TraceReader::of_file(file, false)
        };
        let mut cut = open(packed.len() - 10).unwrap();
        let mut read = 0;
        while cut.next_record().unwrap().is_some() {
            read += 1;
        }
        assert!(read > middle.len() && !cut.is_whole(), "{read}");
        let error = open(40).err().unwrap().to_string();
        assert!(error.contains("it was cut off before that was whole"), "{error}");
    }

    #[test]
    fn what_is_no_trace_is_refused_with_the_number_of_its_line() {
        let header = samples::all()[0].to_line();
        let after = |line: &str| read(&[&header, line.as_bytes()].concat()).unwrap_err();
        assert_eq!(
            read(b"").unwrap_err(),
            "line 1 is no line of an esp0 trace (the file is empty)"
        );
        assert!(read(b"ELF\n").unwrap_err().starts_with("line 1 is no line of an esp0 trace ("));
        assert!(read(b"{}\n").unwrap_err().contains("it has no header"));
        let later = String::from_utf8(header.clone()).unwrap();
        let later = later.replace(&format!("\"version\":{VERSION}"), "\"version\":99");
        let sentence = format!("its version is 99, and this esp0 reads version {VERSION}");
        assert!(read(later.as_bytes()).unwrap_err().contains(&sentence));
        assert!(after("nothing\n").starts_with("line 2 is no line"));
        assert!(after("{\"type\":\"entry\",\"sequence\":3}\n").starts_with("line 2 is no line"));
        assert!(
            after(&later).contains("line 2 is no line of an esp0 trace (it is a second header)")
        );
        let endless = " ".repeat(LONGEST + 2);
        assert!(read(endless.as_bytes()).unwrap_err().contains("it is longer than 16 MiB"));
        let more = [whole(), samples::all().pop().unwrap().to_line()].concat();
        assert!(read(&more).unwrap_err().contains("it comes after the end"));
    }
}
