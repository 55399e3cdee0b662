# The manual page, with its lists made anew from the targets and settings of some Makefiles and the text behind their ##.
function item(head, text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    gsub(/~/, "\\(ti", text)
    return ".It " head "\n" text "\n"
}
BEGIN { FS = " *## *" }
/^[a-z-]+:.*##/ { name = $1; sub(/:.*/, "", name); list["targets"] = list["targets"] item("Cm " name, $2) }
/^[A-Z_]+ \?=.*##/ {
    name = value = $1
    sub(/ .*/, "", name)
    sub(/^[^=]*= ?/, "", value)
    list["settings"] = list["settings"] item("Va " name "=" value, $2)
}
/^\.El/ { within = 0 }
FILENAME ~ /\.1$/ && !within
/^\.\\" The (targets|settings) of/ { split($0, words, " "); printf "%s", list[words[3]]; within = 1 }
