//! Hand-made ELF32 files for tests, written from the System V ABI's tables and not by a library that
//! also reads them.

/// A program header and the bytes it loads.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) kind: u32,
    pub(super) physical: u32,
    pub(super) virtual_address: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) memory_size: u32,
    pub(super) flags: u32,
}

/// A file to be.
#[derive(Debug, Clone)]
pub(super) struct Elf32Builder {
    pub(super) class: u8,
    pub(super) data: u8,
    pub(super) kind: u16,
    pub(super) machine: u16,
    pub(super) entry: u32,
    pub(super) parts: Vec<Part>,
    /// Name, address, size, type (`STT_*`): all in the one executable section, that of part 0.
    pub(super) symbols: Vec<(&'static str, u32, u32, u8)>,
}

pub(super) const HEADER_SIZE: usize = 52;
pub(super) const PROGRAM_HEADER_SIZE: usize = 32;

impl Elf32Builder {
    /// A kernel at 1 MiB: a Multiboot header, then `code`, then bss up to `memory_size`.
    pub(super) fn kernel(code: &[u8], memory_size: u32) -> Self {
        let flags = 3u32;
        let magic = 0x1BAD_B002u32;
        let checksum = 0u32.wrapping_sub(magic.wrapping_add(flags));
        let mut bytes: Vec<u8> =
            [magic, flags, checksum, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend_from_slice(code);
        Self {
            class: 1,
            data: 1,
            kind: 2,
            machine: 3,
            entry: 0x10_0010,
            parts: vec![Part {
                kind: 1,
                physical: 0x10_0000,
                virtual_address: 0x10_0000,
                memory_size: memory_size.max(bytes.len() as u32),
                bytes,
                flags: 5,
            }],
            symbols: Vec::new(),
        }
    }

    pub(super) fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let body_at = HEADER_SIZE + self.parts.len() * PROGRAM_HEADER_SIZE;
        let mut program_headers = Vec::new();
        let mut first_offset = 0;
        for (index, part) in self.parts.iter().enumerate() {
            while !(body_at + body.len()).is_multiple_of(4) {
                body.push(0);
            }
            let offset = (body_at + body.len()) as u32;
            if index == 0 {
                first_offset = offset;
            }
            body.extend_from_slice(&part.bytes);
            for word in [
                part.kind,
                offset,
                part.virtual_address,
                part.physical,
                part.bytes.len() as u32,
                part.memory_size,
                part.flags,
                4096,
            ] {
                program_headers.extend(word.to_le_bytes());
            }
        }
        let mut sections_at = 0;
        let mut section_count = 0u16;
        if !self.symbols.is_empty() {
            let part = &self.parts[0];
            let mut names = vec![0u8];
            let mut table = vec![0u8; 16];
            for (name, address, size, kind) in &self.symbols {
                table.extend((names.len() as u32).to_le_bytes());
                table.extend(address.to_le_bytes());
                table.extend(size.to_le_bytes());
                table.extend([0x10 | kind, 0]);
                table.extend(1u16.to_le_bytes());
                names.extend(name.as_bytes());
                names.push(0);
            }
            let table_at = (body_at + body.len()) as u32;
            body.extend(&table);
            let names_at = (body_at + body.len()) as u32;
            body.extend(&names);
            sections_at = (body_at + body.len()) as u32;
            section_count = 4;
            // name, type, flags, address, offset, size, link, info, alignment, entry size
            let sections: [[u32; 10]; 4] = [
                [0; 10],
                [0, 1, 6, part.virtual_address, first_offset, part.bytes.len() as u32, 0, 0, 4, 0],
                [0, 2, 0, 0, table_at, table.len() as u32, 3, 1, 4, 16],
                [0, 3, 0, 0, names_at, names.len() as u32, 0, 0, 1, 0],
            ];
            for word in sections.iter().flatten() {
                body.extend(word.to_le_bytes());
            }
        }

        let mut file = vec![0x7F, b'E', b'L', b'F', self.class, self.data, 1, 0];
        file.resize(16, 0);
        file.extend(self.kind.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        file.extend(self.entry.to_le_bytes());
        file.extend((HEADER_SIZE as u32).to_le_bytes());
        file.extend(sections_at.to_le_bytes());
        file.extend(0u32.to_le_bytes());
        for half in [
            HEADER_SIZE as u16,
            PROGRAM_HEADER_SIZE as u16,
            self.parts.len() as u16,
            40,
            section_count,
            section_count.saturating_sub(1),
        ] {
            file.extend(half.to_le_bytes());
        }
        assert_eq!(file.len(), HEADER_SIZE);
        file.extend(program_headers);
        file.extend(body);
        file
    }
}
