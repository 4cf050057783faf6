//! The screen as a picture: the framebuffer if the guest has drawn on one or set such a mode by its BIOS, the dots of VGA
//! mode 13, or else the text screen.
//!
//! ```text
//!  a cell: character, attribute (7 blinks, 6–4 background, 3–0 foreground)  ─►  8 x 16 dots of two colours
//! ```
//! The font is the public domain's 8 x 8 (font8x8), each line of it drawn twice; the colours are those that a
//! PC's BIOS loads. A font or a palette that the guest loaded is not looked at in text mode.

use esp0::boot::Framebuffer;
use esp0::devices::bochs_vbe::{self, BochsVbe};
use esp0::devices::screen;
use esp0::devices::vga::{COLUMNS, DOTS, DOTS_HEIGHT, DOTS_WIDTH, ROWS, Shown, Vga};
use esp0::machine::Memory;
use esp0::run::Run;
use font8x8::{
    BASIC_FONTS, BLOCK_FONTS, BOX_FONTS, GREEK_FONTS, LATIN_FONTS, MISC_FONTS, UnicodeFonts,
};
use std::io::{self, Write};

/// Dots of a cell.
const WIDTH: usize = 8;
const HEIGHT: usize = 16;
/// The lines of a cell that the cursor covers.
const CURSOR: std::ops::Range<usize> = 14..16;

/// The sixteen colours: red, green, blue.
const COLOURS: [[u8; 3]; 16] = [
    [0x00, 0x00, 0x00],
    [0x00, 0x00, 0xAA],
    [0x00, 0xAA, 0x00],
    [0x00, 0xAA, 0xAA],
    [0xAA, 0x00, 0x00],
    [0xAA, 0x00, 0xAA],
    [0xAA, 0x55, 0x00],
    [0xAA, 0xAA, 0xAA],
    [0x55, 0x55, 0x55],
    [0x55, 0x55, 0xFF],
    [0x55, 0xFF, 0x55],
    [0x55, 0xFF, 0xFF],
    [0xFF, 0x55, 0x55],
    [0xFF, 0x55, 0xFF],
    [0xFF, 0xFF, 0x55],
    [0xFF, 0xFF, 0xFF],
];

/// Writes what is seen at the end of the run as a PNG.
pub(super) fn write(
    out: impl Write,
    run: &Run,
    framebuffer: Option<&Framebuffer>,
) -> io::Result<()> {
    let memory = run.machine().memory();
    let vga = run.devices().vga();
    if let Some((shown, bytes)) = picture(run, framebuffer) {
        return write_picture(out, &shown, &bytes, &vga.colours());
    }
    if vga.shown() == Shown::Dots {
        return write_dots(out, vga, memory);
    }
    write_text(out, &run.screen().unwrap_or_default(), vga.cursor())
}

/// The framebuffer, and the bytes of its picture: of the mode that the guest has set by its BIOS, or of the one that it was
/// given, if it has drawn anything there.
pub(super) fn picture(
    run: &Run,
    framebuffer: Option<&Framebuffer>,
) -> Option<(Framebuffer, Vec<u8>)> {
    let set = run.devices().vbe().and_then(BochsVbe::shown);
    if let (Some(shown), Some(memory)) = (set, run.machine().video_memory()) {
        let mut bytes = vec![0; shown.size() as usize];
        memory.read(u64::from(shown.address) - bochs_vbe::ADDRESS, &mut bytes)?;
        return Some((shown, bytes));
    }
    let given = *framebuffer?;
    Some((given, drawn(&given, run.machine().memory())?))
}

/// The framebuffer's bytes, if the guest has drawn anything.
fn drawn(framebuffer: &Framebuffer, memory: &Memory) -> Option<Vec<u8>> {
    let mut bytes = vec![0; framebuffer.size() as usize];
    memory.read(framebuffer.address.into(), &mut bytes)?;
    bytes.iter().any(|byte| *byte != 0).then_some(bytes)
}

fn write_picture(
    out: impl Write,
    framebuffer: &Framebuffer,
    bytes: &[u8],
    palette: &[[u8; 3]],
) -> io::Result<()> {
    let mut encoder = png::Encoder::new(out, framebuffer.width, framebuffer.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&framebuffer.picture(bytes, palette))?;
    writer.finish()?;
    Ok(())
}

/// Writes the dots of mode 13, in the colours that the guest has loaded.
fn write_dots(out: impl Write, vga: &Vga, memory: &Memory) -> io::Result<()> {
    let mut dots = vec![0; DOTS_WIDTH * DOTS_HEIGHT];
    // There is RAM below 1 MiB.
    let _ = memory.read(DOTS.start, &mut dots);
    let mut encoder = png::Encoder::new(out, DOTS_WIDTH as u32, DOTS_HEIGHT as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(vga.colours().concat());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&dots)?;
    writer.finish()?;
    Ok(())
}

/// Writes the text screen's cells, two bytes each; `cursor` is a column and a row.
fn write_text(out: impl Write, cells: &[u8], cursor: Option<(usize, usize)>) -> io::Result<()> {
    let (width, height) = ((COLUMNS * WIDTH) as u32, (ROWS * HEIGHT) as u32);
    let mut encoder = png::Encoder::new(out, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(COLOURS.concat());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&dots(cells, cursor))?;
    writer.finish()?;
    Ok(())
}

/// The number of a colour for each dot, line by line.
fn dots(cells: &[u8], cursor: Option<(usize, usize)>) -> Vec<u8> {
    let line = COLUMNS * WIDTH;
    let mut dots = vec![0; line * ROWS * HEIGHT];
    for (row, text) in screen::rows(cells).iter().enumerate() {
        for (column, letter) in text.chars().enumerate() {
            let attribute = cells.get((row * COLUMNS + column) * 2 + 1).copied().unwrap_or(7);
            let (front, back) = (attribute & 0xF, attribute >> 4 & 7);
            let glyph = glyph(letter);
            for y in 0..HEIGHT {
                let is_cursor = cursor == Some((column, row)) && CURSOR.contains(&y);
                let bits = if is_cursor { 0xFF } else { glyph[y / 2] };
                let at = (row * HEIGHT + y) * line + column * WIDTH;
                for (x, dot) in dots[at..at + WIDTH].iter_mut().enumerate() {
                    *dot = if bits >> x & 1 != 0 { front } else { back };
                }
            }
        }
    }
    dots
}

/// Eight lines of eight dots, the leftmost in bit 0; a box for a character that the font lacks.
fn glyph(letter: char) -> [u8; 8] {
    BASIC_FONTS
        .get(letter)
        .or_else(|| BOX_FONTS.get(letter))
        .or_else(|| BLOCK_FONTS.get(letter))
        .or_else(|| LATIN_FONTS.get(letter))
        .or_else(|| GREEK_FONTS.get(letter))
        .or_else(|| MISC_FONTS.get(letter))
        .unwrap_or([0, 0x7E, 0x42, 0x42, 0x42, 0x42, 0x7E, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_drawn_in_its_colours_at_its_place() {
        let mut cells = screen::BLANK.repeat(COLUMNS * ROWS);
        let at = (COLUMNS + 2) * 2;
        cells[at..at + 2].copy_from_slice(&[b'I', 0x1E]);
        let dots = dots(&cells, Some((0, 24)));
        let line = COLUMNS * WIDTH;
        let cell = |x: usize, y: usize| dots[(HEIGHT + y) * line + 2 * WIDTH + x];
        let drawn: Vec<u8> = (0..WIDTH).map(|x| cell(x, 4)).collect();
        assert!(drawn.contains(&0xE) && drawn.contains(&1), "{drawn:?}");
        assert!((0..WIDTH).all(|x| cell(x, 4) == cell(x, 5)), "each line is drawn twice");
        assert_eq!(dots[0], 0, "a blank is black");
        assert_eq!(dots[(24 * HEIGHT + 15) * line], 7, "the cursor is grey");
    }

    #[test]
    fn it_is_a_png_of_640_by_400() {
        let mut file = Vec::new();
        write_text(&mut file, &screen::BLANK.repeat(COLUMNS * ROWS), None).unwrap();
        assert!(file.starts_with(b"\x89PNG\r\n\x1a\n"));
        assert_eq!(file[16..24], [0, 0, 2, 0x80, 0, 0, 1, 0x90]);
        write_text(&mut Vec::new(), &[], None).unwrap();
    }

    #[test]
    fn a_framebuffer_is_drawn_in_its_own_size() {
        let shown = Framebuffer { address: 0x1000, pitch: 8, width: 2, height: 3, depth: 32 };
        let mut memory = Memory::detached(0x2000).unwrap();
        assert_eq!(drawn(&shown, &memory), None, "nothing was drawn");
        memory.write(0x1000, &[1]).unwrap();
        let mut file = Vec::new();
        write_picture(&mut file, &shown, &drawn(&shown, &memory).unwrap(), &[]).unwrap();
        assert_eq!(file[16..24], [0, 0, 0, 2, 0, 0, 0, 3]);
    }
}
