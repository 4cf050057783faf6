import gdb
from gdb.unwinder import Unwinder, register_unwinder


class Place:
    def __init__(self, sp, pc):
        self.sp = gdb.Value(sp)
        self.pc = gdb.Value(pc)


class Handlers(Unwinder):
    """Frames through a handler in assembly, by what the processor has pushed and what PUSHA has."""

    REGISTERS = ("edi", "esi", "ebp", None, "ebx", "edx", "ecx", "eax")
    # What nobody has pushed is what it is: gdb takes a register that is not told for lost.
    ALL = ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi", "cs", "ss", "ds", "es", "fs", "gs", "eflags")
    # They are the processor's: an entry changes none of them.
    SYSTEM = ("cr0", "cr2", "cr3", "cr4", "gdtr_base", "gdtr_limit", "idtr_base", "idtr_limit", "tr", "tr_base", "ldtr")

    def __init__(self):
        super().__init__("esp0")

    def __call__(self, pending):
        number = lambda name: int(pending.read_register(name)) & 0xFFFFFFFF
        pc, sp, cs = number("eip"), number("esp"), number("cs")
        if cs & 3:
            return None
        block = gdb.block_for_pc(pc)
        while block is not None and block.function is None:
            block = block.superblock
        if block is not None:
            return None
        words = self.words(sp)
        kept, behind = self.pusha(words, sp)
        found = self.pushed(words, behind, cs)
        if found is None:
            return None
        at, outer = found
        start = self.start(pc)
        unwound = pending.create_unwind_info(Place(sp + 4 * at, start))
        values = {"eip": words[at], "cs": words[at + 1] & 0xFFFF, "eflags": words[at + 2]}
        values["esp"] = words[at + 3] if outer else sp + 4 * (at + 3)
        if outer:
            values["ss"] = words[at + 4] & 0xFFFF
        values.update(kept)
        values["cpl"] = words[at + 1] & 3
        for name, value in values.items():
            kind = pending.read_register(name).type
            # By bytes: what a language calls 32 bits without a sign is not to matter.
            unwound.add_saved_register(name, gdb.Value((value & 0xFFFFFFFF).to_bytes(4, "little"), kind))
        for name in self.ALL + self.SYSTEM:
            if name not in values:
                try:
                    unwound.add_saved_register(name, pending.read_register(name))
                except gdb.error:
                    pass
        return unwound

    def words(self, sp):
        """What lies on the stack, up to the end of its page at least."""
        words = []
        for count in (64, 32, 16, 8):
            try:
                bytes = gdb.selected_inferior().read_memory(sp, count * 4).tobytes()
            except gdb.MemoryError:
                continue
            for at in range(0, len(bytes), 4):
                words.append(int.from_bytes(bytes[at : at + 4], "little"))
            break
        return words

    def pusha(self, words, sp):
        """PUSHA stores ESP as it was before: a word that names the place five words above itself."""
        for at in range(len(words) - 8):
            if words[at + 3] == (sp + 4 * (at + 8)) & 0xFFFFFFFF:
                names = zip(self.REGISTERS, words[at : at + 8])
                return {name: value for name, value in names if name}, at + 8
        return {}, 0

    def pushed(self, words, first, cs):
        """EIP, CS, EFLAGS, and from ring 3 ESP and SS: where they begin, and whether from ring 3."""
        for at in range(first, len(words) - 2):
            selector, flags = words[at + 1] & 0xFFFF, words[at + 2]
            if flags & 0xFFC0802A != 2:
                continue
            outer = selector & 3 == 3 and selector > 7
            if outer and at + 4 < len(words) and words[at + 4] & 3 == 3:
                return at, True
            if selector == cs and words[at + 1] >> 16 == 0:
                return at, False
        return None

    def start(self, pc):
        """The label before, which is the same for all of a handler."""
        text = gdb.execute("info symbol 0x%x" % pc, to_string=True)
        parts = text.split()
        return pc - int(parts[2]) if len(parts) > 2 and parts[1] == "+" else pc


register_unwinder(None, Handlers(), replace=True)
