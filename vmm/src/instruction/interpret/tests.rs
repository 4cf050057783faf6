use super::*;
use crate::machine::Memory;
use ia32::Segment;

fn with<T>(code: &[u8], word: u32, ask: impl Fn(&State, &LinearMemory<'_>, Code<'_>) -> T) -> T {
    let mut memory = Memory::detached(0x4000).expect("there is memory");
    memory.write(0x1000, code).expect("and room");
    memory.write(0x2000, &word.to_le_bytes()).expect("for both");
    let segment = Segment { selector: 8, attributes: 0xc093, base: 0, limit: u32::MAX };
    let mut state = State { cr0: 1, eip: 0x1000, ..State::default() };
    state.segments = [segment; 6];
    state.segments[1].attributes = 0xc09b;
    (state.general.esp, state.general.edx) = (0x3000, 0x2000);
    let linear = LinearMemory { memory: &memory, paging: (&state).into() };
    let read = |at: u32| {
        let mut bytes = [0; 15];
        let count = linear.read_some(at, &mut bytes);
        bytes[..count].to_vec()
    };
    ask(&state, &linear, &read)
}

fn reads(code: &[u8], word: u32) -> Option<(usize, Vec<u32>)> {
    with(code, word, |state, linear, code| {
        let cycle = cycle(state, linear, code)?;
        Some((cycle.length, cycle.reads.into_iter().map(|(at, _)| at).collect()))
    })
}

#[test]
fn a_loop_that_waits_for_a_lock_is_a_cycle_while_it_is_held() {
    // mov eax, 1; xchg [edx], eax; test eax, eax; jnz back; jmp $
    let code = [0xb8, 1, 0, 0, 0, 0x87, 0x02, 0x85, 0xc0, 0x75, 0xf5, 0xeb, 0xfe];
    assert_eq!(reads(&code, 1), Some((4, vec![0x2000])));
    // Free, it is taken; what follows is a jump to itself, which reads nothing.
    assert_eq!(reads(&code, 0), Some((1, vec![])));
}

#[test]
fn a_function_that_is_called_in_each_round_belongs_to_the_cycle() {
    // call 1009; test eax, eax; jnz 1000; mov eax, [edx]; ret
    let code = [0xe8, 4, 0, 0, 0, 0x85, 0xc0, 0x75, 0xf7, 0x8b, 0x02, 0xc3];
    assert_eq!(reads(&code, 7), Some((5, vec![0x2000])));
}

#[test]
fn a_compare_and_exchange_leaves_the_word_that_it_does_not_find() {
    // xor eax, eax; lock cmpxchg [edx], ecx; jnz back
    let code = [0x31, 0xc0, 0xf0, 0x0f, 0xb1, 0x0a, 0x75, 0xf8];
    assert_eq!(reads(&code, 7), Some((3, vec![0x2000])));
    assert_eq!(reads(&code, 0), None);
}

#[test]
fn a_loop_that_counts_is_none_nor_is_one_that_does_what_is_not_known() {
    // dec dword [edx]; jnz back; in al, dx
    let counts = [0xff, 0x0a, 0x75, 0xfc, 0xec];
    assert_eq!(reads(&counts, 100), None);
    assert_eq!(reads(&[0xec, 0xeb, 0xfd], 0), None);
    // rdtsc; jmp back
    assert_eq!(reads(&[0x0f, 0x31, 0xeb, 0xfc], 0), None);
}

#[test]
fn flags_are_those_of_the_manual() {
    // cmp byte [edx], 0x80; jl back
    let less = [0x80, 0x3a, 0x80, 0x7c, 0xfb];
    assert_eq!(reads(&less, 0x7f), None, "127 is not less than -128");
    // cmp byte [edx], 0x10; jb back
    let below = [0x80, 0x3a, 0x10, 0x72, 0xfb];
    assert_eq!(reads(&below, 0x0f), Some((2, vec![0x2000])));
    assert_eq!(reads(&below, 0x10), None);
    // mov eax, [edx]; sub eax, 5; sete al; movzx eax, al; test eax, eax; je back
    let code =
        [0x8b, 0x02, 0x83, 0xe8, 5, 0x0f, 0x94, 0xc0, 0x0f, 0xb6, 0xc0, 0x85, 0xc0, 0x74, 0xf1];
    assert_eq!(reads(&code, 6), Some((6, vec![0x2000])));
    assert_eq!(reads(&code, 5), None);
}

fn branch_on_eax(code: &[u8]) -> Option<u32> {
    with(code, 7, |state, linear, code| {
        let mut state = *state;
        state.general.eax = 4;
        goes_by_eax(&state, linear, code).map(|branch| branch.ip32())
    })
}

#[test]
fn a_program_goes_by_eax_where_it_compares_just_that() {
    // test eax, eax; js out
    assert_eq!(branch_on_eax(&[0x85, 0xc0, 0x78, 0x02]), Some(0x1002));
    // mov [edx], eax; cmp dword [edx], 9; jne out
    assert_eq!(branch_on_eax(&[0x89, 0x02, 0x83, 0x3a, 9, 0x75, 0x02]), Some(0x1005));
    // mov ecx, eax; mov eax, 1; cmp eax, 9; jne out
    let loads = [0x89, 0xc1, 0xb8, 1, 0, 0, 0, 0x83, 0xf8, 9, 0x75, 0x02, 0xcd, 0x80];
    assert_eq!(branch_on_eax(&loads), None);
    // inc eax; cmp eax, 9; jne back: who counts in EAX asks nothing of the call.
    assert_eq!(branch_on_eax(&[0x40, 0x83, 0xf8, 9, 0x75, 0xfa]), None);
    // int 0x80
    assert_eq!(branch_on_eax(&[0xcd, 0x80, 0x85, 0xc0, 0x78, 0x02]), None);
}

fn awaited(code: &[u8], value: u8) -> Option<u8> {
    with(code, 0, |state, linear, code| {
        let mut state = *state;
        state.general.edx = 0x3fd;
        polling(&state, linear, code, (0x3fd, value)).map(|polling| polling.awaited)
    })
}

#[test]
fn the_bits_that_a_loop_waits_for_are_those_that_end_it() {
    // in al, dx; test al, 22h; jz back
    let either = [0xec, 0xa8, 0x22, 0x74, 0xfb];
    assert_eq!(awaited(&either, 0x40), Some(0x22));
    assert_eq!(awaited(&either, 0x60), None, "it ends");
    // in al, dx; test al, 80h; jnz back
    assert_eq!(awaited(&[0xec, 0xa8, 0x80, 0x75, 0xfb], 0x80), Some(0x80));
    // in al, dx; jmp back: it waits for nothing.
    assert_eq!(awaited(&[0xec, 0xeb, 0xfd], 0), Some(0));
    // in al, 60h; jmp back: another port.
    assert_eq!(awaited(&[0xe4, 0x60, 0xeb, 0xfc], 0), None);
    // dec ecx; in al, dx; test al, 2; loopne: it counts, and ends.
    assert_eq!(awaited(&[0x49, 0xec, 0xa8, 0x02, 0x74, 0xfa], 0), None);
}

fn leaves(code: &[u8], word: u32, halt: u32) -> Option<u32> {
    with(code, word, |state, linear, code| {
        would_leave(state, linear, code, halt).map(|(word, _)| word)
    })
}

#[test]
fn a_loop_around_a_halt_would_end_once_its_word_is_there() {
    // cmp dword [edx], 0; jne out; out 80h, al; sti; hlt; out: ret
    let wait = [0x83, 0x3a, 0, 0x75, 0x04, 0xe6, 0x80, 0xfb, 0xf4, 0xc3];
    assert_eq!(leaves(&wait, 1, 0x1008), Some(0x2000));
    assert_eq!(leaves(&wait, 0, 0x1008), None, "it is to wait");
    // cmp dword [edx], 0; jne out; hlt; out: hlt again
    let both = [0x83, 0x3a, 0, 0x75, 0, 0xf4];
    assert_eq!(leaves(&both, 1, 0x1005), None);
}
