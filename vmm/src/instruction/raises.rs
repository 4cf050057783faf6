//! Which exceptions an instruction may raise.

use ia32::Vector;
use iced_x86::{Instruction, Mnemonic};

/// Whether `instruction` can raise `vector` (SDM vol. 3A, "Exception and interrupt reference").
pub(crate) fn can_raise(instruction: &Instruction, vector: Vector) -> bool {
    match vector {
        Vector::DE => {
            matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv | Mnemonic::Aam)
        }
        // Which encodings are undefined depends on the processor's model.
        Vector::UD => true,
        // #BR, #NM, #TS, #NP, #SS, #GP, #PF and the rest: by anything that decodes.
        _ => !instruction.is_invalid(),
    }
}
