//! What a drive holds: the image as it was, and what the guest has written since.
//!
//! The image is a file that was opened before the guest ran, or bytes. It is only read: what is written is
//! kept apart in blocks, which copies share, so that a checkpoint of a machine holds its disks too, and a run
//! that is begun again finds them as they were. Whoever wants the file to have it asks for it at the end
//! ([`Medium::write_back`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes of a block that is kept apart.
const BLOCK: usize = 4096;

/// Where the bytes come from that nobody has written.
#[derive(Debug, Clone)]
enum Source {
    File(Arc<File>),
    Bytes(Arc<[u8]>),
}

/// An image and what was written to it. A copy is cheap.
#[derive(Debug, Clone)]
pub struct Medium {
    source: Source,
    /// Bytes of the image.
    held: u64,
    size: u64,
    written: Arc<BTreeMap<u64, Arc<[u8; BLOCK]>>>,
}

impl Medium {
    /// The first `size` bytes of an open file, which nobody changes meanwhile.
    pub fn of_file(file: File, size: u64) -> Self {
        Self { source: Source::File(Arc::new(file)), held: size, size, written: Arc::default() }
    }

    /// These bytes.
    pub fn of_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        Self { held: size, size, source: Source::Bytes(bytes), written: Arc::default() }
    }

    /// With zeros behind the image, as many as make it that large.
    #[must_use]
    pub fn padded(mut self, size: u64) -> Self {
        self.size = self.size.max(size);
        self
    }

    /// Bytes that it holds.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads at `offset`. What lies behind the end is 0.
    ///
    /// # Errors
    /// What the operating system says of the file.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let (block, start) = split(offset + done as u64);
            let count = (BLOCK - start).min(bytes.len() - done);
            let part = &mut bytes[done..done + count];
            match self.written.get(&block) {
                Some(kept) => part.copy_from_slice(&kept[start..start + count]),
                None => self.read_source(offset + done as u64, part)?,
            }
            done += count;
        }
        Ok(())
    }

    /// Keeps what the guest writes at `offset`, apart from the image.
    ///
    /// # Errors
    /// What the operating system says of the file, of which the rest of a block is read.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let (block, start) = split(offset + done as u64);
            let count = (BLOCK - start).min(bytes.len() - done);
            let mut kept = [0; BLOCK];
            self.read(block * BLOCK as u64, &mut kept)?;
            kept[start..start + count].copy_from_slice(&bytes[done..done + count]);
            Arc::make_mut(&mut self.written).insert(block, Arc::new(kept));
            done += count;
        }
        Ok(())
    }

    /// Bytes that are kept apart, in whole blocks.
    pub fn kept_apart(&self) -> u64 {
        self.written.len() as u64 * BLOCK as u64
    }

    /// Writes to the file what was kept apart from it; nothing if there is no file. Zeros behind the image stay out of it as
    /// long as nobody writes near them.
    ///
    /// # Errors
    /// What the operating system says of the file.
    pub fn write_back(&self) -> io::Result<()> {
        let Source::File(file) = &self.source else { return Ok(()) };
        for (block, bytes) in self.written.iter() {
            let offset = block * BLOCK as u64;
            let count = (self.size.saturating_sub(offset)).min(BLOCK as u64) as usize;
            file.write_all_at(&bytes[..count], offset)?;
        }
        Ok(())
    }

    fn read_source(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let held = self.held.saturating_sub(offset).min(bytes.len() as u64) as usize;
        let (from_image, behind) = bytes.split_at_mut(held);
        behind.fill(0);
        match &self.source {
            Source::File(file) => file.read_exact_at(from_image, offset),
            Source::Bytes(image) => {
                let start = offset.min(self.held) as usize;
                from_image.copy_from_slice(&image[start..start + held]);
                Ok(())
            }
        }
    }
}

/// The block of an offset, and where in it.
fn split(offset: u64) -> (u64, usize) {
    (offset / BLOCK as u64, (offset % BLOCK as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_written_is_read_back_and_a_copy_does_not_see_it() {
        let mut medium = Medium::of_bytes(vec![7; 10_000]);
        let before = medium.clone();
        medium.write(4000, &[1; 200]).unwrap();
        let mut bytes = [0; 202];
        medium.read(3999, &mut bytes).unwrap();
        assert_eq!((bytes[0], bytes[1], bytes[200], bytes[201]), (7, 1, 1, 7));
        before.read(3999, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 202]);
        medium.read(9_999, &mut bytes).unwrap();
        assert_eq!((bytes[0], bytes[1]), (7, 0), "behind the end");
        assert_eq!(medium.kept_apart(), 2 * 4096);
    }

    #[test]
    fn an_image_that_is_padded_has_zeros_behind_it() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[5; 700]).unwrap();
        let mut medium = Medium::of_file(file.try_clone().unwrap(), 700).padded(9000);
        let mut bytes = [1; 600];
        medium.read(512, &mut bytes).unwrap();
        assert_eq!((medium.size(), bytes[187], bytes[188], bytes[599]), (9000, 5, 0, 0));
        medium.write(8192, &[6; 512]).unwrap();
        medium.read(8192, &mut bytes).unwrap();
        assert_eq!((bytes[511], bytes[512]), (6, 0));
    }

    #[test]
    fn a_file_has_it_when_it_is_written_back_and_grows_by_nothing() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[5; 1536]).unwrap();
        let mut medium = Medium::of_file(file.try_clone().unwrap(), 1536);
        medium.write(512, &[6; 512]).unwrap();
        let mut bytes = [0; 1536];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [5; 1536]);
        medium.write_back().unwrap();
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!((bytes[511], bytes[512], bytes[1023], bytes[1024]), (5, 6, 6, 5));
        assert_eq!(file.metadata().unwrap().len(), 1536);
    }
}
