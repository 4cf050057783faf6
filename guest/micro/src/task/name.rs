//! What a task is called, for those who look.

use core::fmt;

/// A name, cut off if it is too long.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    text: [u8; 16],
}

impl Name {
    /// The last part of a path, as much as fits.
    pub(crate) fn of_path(path: &[u8]) -> Self {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        let mut text = [0; 16];
        for (to, &from) in text.iter_mut().zip(name) {
            *to = if from.is_ascii_graphic() { from } else { b'?' };
        }
        Self { text }
    }

    /// Its bytes, ended by zeros.
    pub(crate) fn bytes(self) -> [u8; 16] {
        self.text
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.text.iter().position(|&byte| byte == 0).unwrap_or(self.text.len());
        f.pad(str::from_utf8(&self.text[..length]).unwrap_or("?"))
    }
}
