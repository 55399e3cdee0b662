# The targets of some Makefiles and the settings, each with the text behind its ##. `help` has a screenful of it.
BEGIN { FS = " *## *"; print make " TARGET NAME=value ..." }
/^[a-z-]+:.*##/ { name = $1; sub(/:.*/, "", name); printf "  %-12s%s\n", name, $2 }
/^[A-Z_]+ \?=.*##/ {
    name = $1; sub(/ .*/, "", name)
    if (target == "help-all" || ++count <= 4) settings = settings sprintf("  %-12s%s [%s]\n", name, $2, ENVIRON[name])
}
END {
    print "settings, with their present values" (target == "help-all" ? ":" : "; '" make " help-all' has all of them:")
    printf "%s", settings
}
