//! What a kernel's own tests look like.

use esp0::guest::{Guest, GuestError};
use esp0::ia32::{Vector, Word};

#[test]
fn the_kernel_enters_its_handler_and_says_so() -> Result<(), GuestError> {
    let mut guest = Guest::from_bytes("a kernel", a_kernel::image()).memory_mib(4).boot()?;
    let entry = guest.run_until(|entry| entry.vector == Vector(0x30))?;
    assert_eq!(entry.frame.selector(Word::Cs), Some(0x10));
    let before = guest.checkpoint()?;
    guest.run_until_console("ok\n")?;
    assert!(guest.run_to_end()?.ending.is_good());
    guest.restore(&before)?;
    assert_eq!(guest.console(), "");
    guest.run_until_console("ok\n")?;
    guest.assert_clean();
    Ok(())
}
