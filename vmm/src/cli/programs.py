import gdb


class Programs(gdb.Command):
    """Of programs that lie at the same addresses, gdb knows the one that is mapped: at each stop esp0 tells which.
program NAME has it know that one, to set a breakpoint in it; program alone looks again."""

    def __init__(self, files):
        super().__init__("program", gdb.COMMAND_FILES)
        self.files = files
        self.now = None
        gdb.events.stop.connect(lambda event: self.look())

    def invoke(self, argument, from_tty):
        if not argument:
            self.look()
        elif argument in self.files:
            self.take(argument)
        else:
            raise gdb.GdbError("one of " + ", ".join(self.files))

    def complete(self, text, word):
        return [name for name in self.files if name.startswith(word)]

    def look(self):
        """What is mapped is taken. In the kernel, before there is a program, the last one stays."""
        mapped = [name for name in gdb.execute("monitor programs", to_string=True).splitlines() if name in self.files]
        if not mapped or self.now in mapped:
            return
        self.take(mapped[0])
        pc = int(gdb.selected_frame().pc())
        if self.holds(mapped[0], pc):
            gdb.execute("frame")

    def holds(self, name, address):
        return any(start <= address < end for start, end in self.files[name][1])

    def take(self, name):
        if self.now is not None:
            self.keep_breakpoints(self.now)
            gdb.execute("remove-symbol-file %s" % self.files[self.now][0], to_string=True)
        gdb.execute("add-symbol-file %s" % self.files[name][0], to_string=True)
        self.now = name
        print("[symbols of %s]" % name)

    def keep_breakpoints(self, name):
        """A breakpoint by name would be gone with the name."""
        for old in gdb.breakpoints():
            if old.type != gdb.BP_BREAKPOINT or not old.is_valid() or old.temporary or old.location.startswith("*"):
                continue
            for address in self.addresses(old):
                if not self.holds(name, address):
                    continue
                new = gdb.Breakpoint("*0x%x" % address)
                new.condition, new.enabled = old.condition, old.enabled
                if old.commands:
                    new.commands = old.commands
                print("breakpoint %d at %s of %s is now breakpoint %d" % (old.number, old.location, name, new.number))
                old.delete()
                break

    def addresses(self, breakpoint):
        try:
            return [place.address for place in breakpoint.locations]
        except AttributeError:
            return [line.pc for line in gdb.decode_line(breakpoint.location)[1] or ()]
