//! Flat images: a file of any format whose Multiboot header says where its bytes go, or one without a header whose user
//! says so.
//!
//! Source: Multiboot Specification 0.6.96, section 3.1.3 (known as the a.out kludge).
//! ```text
//!  file    ├──── skipped ────┼──── header ──── code, data ────┤
//!                            │                                │
//!  memory              load_addr … header_addr … load_end_addr ├─ zeros ─┤ bss_end_addr
//! ```
//! The file offset of `load_addr` is the header's offset less (`header_addr` − `load_addr`).

use super::image::{Format, KernelImage, LoadSegment, StartMode};
use super::multiboot::{HeaderError, LoadAddresses};

/// Describes a file without a header as one segment at `address`, where its first instruction is too.
///
/// # Errors
/// What is wrong with the file, as a predicate.
pub fn at(bytes: &[u8], address: u32) -> Result<KernelImage, &'static str> {
    if bytes.is_empty() {
        return Err("is empty");
    }
    let size = u32::try_from(bytes.len()).ok().filter(|size| address.checked_add(*size).is_some());
    let size = size.ok_or("reaches beyond 4 GiB from the address that --at gives")?;
    let segment = LoadSegment {
        index: 0,
        file_offset: 0,
        file_size: size,
        physical: address,
        virtual_address: address,
        memory_size: size,
        flags: 7,
    };
    Ok(KernelImage {
        format: Format::Flat,
        entry: address,
        linked_entry: address,
        start: StartMode::ProtectedMode,
        segments: vec![segment],
        video: None,
    })
}

/// Describes a flat image as one segment, all of it executable and writable.
///
/// # Errors
/// [`HeaderError::Addresses`] if the fields contradict each other or the file.
pub fn describe(
    bytes: &[u8],
    header_offset: usize,
    addresses: LoadAddresses,
) -> Result<KernelImage, HeaderError> {
    let contradiction = HeaderError::Addresses;
    let before_header = addresses
        .header
        .checked_sub(addresses.load)
        .ok_or(contradiction("load_addr lies behind header_addr"))?;
    let file_offset = header_offset
        .checked_sub(before_header as usize)
        .ok_or(contradiction("load_addr lies before the start of the file"))?;
    let available = u32::try_from(bytes.len() - file_offset)
        .map_err(|_| contradiction("the file is larger than 4 GiB"))?;
    let file_size = match addresses.load_end {
        0 => available,
        end => end
            .checked_sub(addresses.load)
            .ok_or(contradiction("load_end_addr lies before load_addr"))?,
    };
    if file_size > available {
        return Err(contradiction("load_end_addr lies behind the end of the file"));
    }
    let loaded_end = addresses
        .load
        .checked_add(file_size)
        .ok_or(contradiction("the image reaches beyond 4 GiB"))?;
    let memory_size = match addresses.bss_end {
        0 => file_size,
        end if end < loaded_end => {
            return Err(contradiction("bss_end_addr lies before the end of the data"));
        }
        end => end - addresses.load,
    };
    let segments = vec![LoadSegment {
        index: 0,
        file_offset: u32::try_from(file_offset)
            .map_err(|_| contradiction("the file is larger than 4 GiB"))?,
        file_size,
        physical: addresses.load,
        virtual_address: addresses.load,
        memory_size,
        flags: 7,
    }];
    if !segments[0].loaded_range().contains(&addresses.entry.into()) {
        return Err(contradiction("entry_addr lies outside the loaded bytes"));
    }
    Ok(KernelImage {
        format: Format::Flat,
        entry: addresses.entry,
        linked_entry: addresses.entry,
        start: StartMode::ProtectedMode,
        segments,
        // The file may be ELF all the same, and its names are as good.
        video: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: LoadAddresses = LoadAddresses {
        header: 0x10_0010,
        load: 0x10_0000,
        load_end: 0x10_0080,
        bss_end: 0x10_1000,
        entry: 0x10_0020,
    };

    #[test]
    fn the_load_offset_follows_from_where_the_header_was_found() {
        let image = describe(&[0; 0x200], 0x50, ADDRESSES).unwrap();
        let segment = image.segments[0];
        assert_eq!(segment.file_offset, 0x40);
        assert_eq!(segment.file_size, 0x80);
        assert_eq!(segment.memory_size, 0x1000);
        assert_eq!(image.entry, 0x10_0020);
    }

    #[test]
    fn zero_ends_mean_the_whole_file_and_no_bss() {
        let open = LoadAddresses { load_end: 0, bss_end: 0, ..ADDRESSES };
        let segment = describe(&[0; 0x200], 0x50, open).unwrap().segments[0];
        assert_eq!(segment.file_size, 0x1C0);
        assert_eq!(segment.memory_size, 0x1C0);
    }

    #[test]
    fn a_file_without_a_header_lies_and_begins_where_it_is_told_to() {
        let image = at(&[0x90; 0x20], 0x7C00).unwrap();
        assert_eq!((image.entry, image.start(), image.end()), (0x7C00, 0x7C00, 0x7C20));
        assert!(at(&[], 0x7C00).is_err());
        assert!(at(&[0; 0x20], 0xFFFF_FFF0).is_err());
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |addresses| describe(&[0; 0x200], 0x50, addresses).is_err();
        assert!(refused(LoadAddresses { header: 0, ..ADDRESSES }));
        assert!(refused(LoadAddresses { load: 0x0F_0000, ..ADDRESSES }));
        assert!(refused(LoadAddresses { load_end: 1, ..ADDRESSES }));
        assert!(refused(LoadAddresses { load_end: 0x11_0000, ..ADDRESSES }));
        assert!(refused(LoadAddresses { bss_end: 0x10_0040, ..ADDRESSES }));
        assert!(refused(LoadAddresses { entry: 0x10_0090, ..ADDRESSES }));
    }
}
