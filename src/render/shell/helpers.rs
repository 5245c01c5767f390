//! The functions that a script has of its own, for what takes more than a command.

use std::fmt::Write;

use crate::resource::namespace::{INHERITED, QUIET};

/// A part of a script that stands at its beginning if something needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Helper {
    /// The namespace of the host.
    Host,
    /// Whether `ip address` knows `proto`.
    Proto,
    /// `owned`: whether a namespace is a topology's.
    Owned,
    /// `new_namespace`.
    Namespace,
    /// `new_file`.
    NewFile,
    /// `change_file`.
    ChangeFile,
    /// `quiet`.
    Quiet,
    /// `remove_link`.
    RemoveLink,
    /// `tagged`: the alias of what is taken over.
    Tagged,
    /// `own_address`.
    OwnAddress,
    /// `own_route`.
    OwnRoute,
    /// `patiently`.
    Patience,
    /// `rules`, `add_rule` and `remove_rule`.
    Rules,
    /// `remove_permit`.
    Permit,
}

/// What every script has.
pub(super) const DIE: &str = r#"
die() {
    printf '%s\n' "$1" >&2
    exit 1
}
"#;

/// The namespace that the script runs in.
const HOST: &str = r#"
# This namespace, seen from others.
host=/proc/$$/ns/net
[ "$(readlink "$host")" = "$(readlink /proc/self/ns/net)" ] || die '/proc is that of other processes'
"#;

const PROTO: &str = r"
# Addresses get netform's number where `ip address` knows how to. Where it doesn't, that follows at the end.
case $(ip address help 2>&1) in
*' proto '*) proto='proto 110' ;;
*) proto= ;;
esac
";

const OWNED: &str = r#"
# That the namespace of a name has a tag.
owned() {
    case $(ip -n "$1" link show dev lo) in
    *"
    alias $2" | *"
    alias $2 "* | *"
    alias $2
"*) ;;
    *) die "namespace $1 isn't $2's any more" ;;
    esac
}
"#;

const NAMESPACE: &str = r#"
# Makes a namespace, gives it its tag, and has it begin with the kernel's own settings.
new_namespace() {
    # A creation that was cut off leaves an empty file.
    if [ -f "/run/netns/$1" ] && ! nsenter --net="/run/netns/$1" true 2>/dev/null; then
        if grep -qsF " /run/netns/$1 " /proc/[0-9]*/mountinfo; then
            die "namespace $1 is mounted, but not here"
        fi
        rm -- "/run/netns/$1"
    fi
    ip netns add "$1"
    ip -n "$1" link set dev lo alias "$2" up
    ip netns exec "$1" sh -c "$kernels_own"
}
"#;

const NEW_FILE: &str = r#"
# Makes the file $2 of namespace $1, whole and where there is none.
new_file() {
    [ ! -L "/etc/netns/$1" ] || die "/etc/netns/$1 is a symbolic link"
    [ ! -d "/etc/netns/$1/$2" ] || die "/etc/netns/$1/$2 is a directory"
    mkdir -p "/etc/netns/$1"
    rm -f /etc/netns/.netform-draft
    cat >/etc/netns/.netform-draft
    ln /etc/netns/.netform-draft "/etc/netns/$1/$2"
    rm /etc/netns/.netform-draft
}
"#;

const CHANGE_FILE: &str = r#"
# Changes the file $2 of namespace $1 in place, for those who have it mounted.
change_file() {
    [ -f "/etc/netns/$1/$2" ] && [ ! -L "/etc/netns/$1/$2" ] && [ ! -L "/etc/netns/$1" ] ||
        die "/etc/netns/$1/$2 isn't a file"
    cat >"/etc/netns/$1/$2"
}
"#;

const QUIET_LINK: &str = r#"
# Has link $1 use its IPv6 addresses at once. A link whose MTU is below 1280 has none.
quiet() {
    link=$1
    shift
    "$@" sh -c 'file=/proc/sys/net/ipv6/conf/$1/accept_dad
        [ ! -e "$file" ] || echo 0 >"$file"' sh "$link"
}
"#;

const REMOVE_LINK: &str = r#"
# Removes link $1, unless it goes by itself with the namespace of its peer.
remove_link() {
    link=$1
    shift
    if ! "$@" link del dev "$link" 2>/dev/null && "$@" link show dev "$link" >/dev/null 2>&1; then
        "$@" link del dev "$link"
    fi
}
"#;

const TAGGED: &str = r#"
# The alias of link $2 with the tag $1 before it.
tagged() (
    tag=$1 link=$2
    shift 2
    words=$("$@" link show dev "$link" | sed -n 's/^    alias //p')
    if printf '%s\n' "$words" | grep -Eq '^netform:[a-z][a-z0-9-]{0,31}( |$)'; then
        words=
    fi
    printf '%s' "$tag${words:+ $words}" | cut -b 1-255
)
"#;

const OWN_ADDRESS: &str = r#"
# Gives the address of the bytes $3 and of the length $2 on link $1 netform's number, as `ip address change ... proto 110`
# would: it is saved, gets one more attribute (IFA_PROTO of linux/if_addr.h), and is restored.
own_address() (
    link=$1 length=$2 address=$3
    shift 3
    message=$("$@" address save dev "$link" | od -A n -v -t u1 | awk -v length_of="$length" -v address="$address" '
        { for (i = 1; i <= NF; i++) byte[n++] = $i }
        function half(at) { return little ? byte[at] + 256 * byte[at + 1] : 256 * byte[at] + byte[at + 1] }
        function put(value) { printf "\\%03o", value }
        function put_half(value) {
            if (little) { put(value % 256); put(int(value / 256)) } else { put(int(value / 256)); put(value % 256) }
        }
        function padded(size) { return int((size + 3) / 4) * 4 }
        END {
            little = byte[0] == 34
            for (at = 4; at < n; at += padded(size)) {
                size = little ? half(at) : half(at + 2)
                if (size < 24) exit
                near = far = ""
                for (part = at + 24; part < at + size; part += padded(half(part))) {
                    if (half(part) < 4) exit
                    text = ""
                    for (i = part + 4; i < part + half(part); i++) text = text (i > part + 4 ? " " : "") byte[i]
                    if (half(part + 2) == 2) near = text
                    if (half(part + 2) == 1) far = text
                }
                if ((near == "" ? far : near) != address || byte[at + 17] != length_of) continue
                for (i = 0; i < 4; i++) put(byte[i])
                if (!little) put_half(0)
                put_half(padded(size) + 8)
                if (little) put_half(0)
                put_half(half(at + 4))
                put_half(256)
                for (i = at + 8; i < at + padded(size); i++) put(byte[i])
                put_half(5); put_half(11); put(110); put(0); put(0); put(0)
                exit
            }
        }')
    [ -n "$message" ] || die "$link has no such address: $address"
    # shellcheck disable=SC2059 # It is made for that.
    printf "$message" | "$@" address restore
)
"#;

const OWN_ROUTE: &str = r#"
# Gives the route that the words $1 select, in table $2, netform's number.
own_route() (
    selected=$1 table=$2
    shift 2
    set -f
    words= before=
    # shellcheck disable=SC2086 # They are words.
    for word in $("$@" route show table "$table" $selected); do
        case $before/$word in
        dev/*) words="$words $word" ;;
        */linkdown | */dead | */offload | */rt_offload | */trap | */rt_trap | */pervasive | */notify) ;;
        *) words="$words $word" ;;
        esac
        before=$word
    done
    [ -n "$words" ] || die "there is no route any more: $selected"
    # shellcheck disable=SC2086 # They are words.
    "$@" route replace $words table "$table" protocol 110
)
"#;

const PATIENCE: &str = r#"
# A route waits until the kernel has noticed that new links have a carrier.
patiently() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        if "$@" 2>/dev/null; then
            return
        fi
        sleep 1
    done
    "$@"
}
"#;

const RULES: &str = r#"
# netform's rules of priority $1 that do what the words $2 say at their end, in the kernel's order.
rules() (
    priority=$1 words=$2
    shift 2
    case $words in
    *' lookup '*) action=" lookup ${words##* }" ;;
    *) action=" ${words##* }" ;;
    esac
    "$@" -N rule show priority "$priority" protocol 110 | sed -e '/ proto 110 *$/!d' \
        -e 's/^[0-9]*:[[:space:]]*//' -e 's/ \[detached\]//g' -e 's/ proto 110 *$//' -e '/ lookup [0-9]*$/b' \
        -e 's/ 6$/ blackhole/' -e 's/ 7$/ unreachable/' -e 's/ 8$/ prohibit/' |
        while IFS= read -r line; do
            case $line in
            *"$action") printf '%s\n' "$line" ;;
            esac
        done
)

# Adds the rule of priority $1 and of the words $2. `ip` doesn't where there is one for some of the same packets, so such
# step aside. They do the same, so no packet takes another way when they are back behind it.
add_rule() (
    priority=$1 words=$2
    shift 2
    set -f
    # shellcheck disable=SC2086 # They are words.
    if "$@" rule add priority "$priority" $words protocol 110 2>/dev/null; then
        exit
    fi
    aside=$(rules "$priority" "$words" "$@")
    printf '%s\n' "$aside" | while IFS= read -r line; do
        [ -z "$line" ] || "$@" rule del priority "$priority" $line protocol 110
    done
    # shellcheck disable=SC2086 # They are words.
    "$@" rule add priority "$priority" $words protocol 110
    printf '%s\n' "$aside" | while IFS= read -r line; do
        [ -z "$line" ] || add_rule "$priority" "$line" "$@"
    done
)

# Removes the rule of priority $1 and of the words $2. The kernel takes the first that has all that it is told, and that may
# be another, so those before it step aside.
remove_rule() (
    priority=$1 words=$2
    shift 2
    set -f
    aside= found=
    all=$(rules "$priority" "$words" "$@")
    while IFS= read -r line; do
        [ -n "$line" ] || continue
        # shellcheck disable=SC2086 # They are words.
        "$@" rule del priority "$priority" $line protocol 110
        if [ "$line" = "$words" ]; then
            found=yes
            break
        fi
        aside="$aside$line
"
    done <<END
$all
END
    printf '%s' "$aside" | while IFS= read -r line; do
        add_rule "$priority" "$line" "$@"
    done
    [ -n "$found" ] || die "there is no rule $priority $words any more"
)
"#;

const PERMIT: &str = r#"
# Removes the rules of chain $2 in table `filter` of family $1 that say $4 and have the comment $5. One that iptables has
# restored has it where only iptables reads it, for which the rule says $3.
remove_permit() (
    family=$1 chain=$2 words=$3 found=
    export RULE="$4" COMMENT="$5"
    shift 5
    set -f
    for handle in $("$@" nft -s -a list chain "$family" filter "$chain" 2>/dev/null | awk '
        { sub(/^[ \t]+/, "") }
        index($0, ENVIRON["RULE"] " ") == 1 && / accept / && index($0, "\"" ENVIRON["COMMENT"] "\"") { print $NF }'); do
        "$@" nft delete rule "$family" filter "$chain" handle "$handle"
        found=yes
    done
    case $family in
    ip) program=iptables ;;
    *) program=ip6tables ;;
    esac
    ! command -v "$program-nft" >/dev/null || program=$program-nft
    # shellcheck disable=SC2086 # They are words.
    while command -v "$program" >/dev/null &&
        "$@" "$program" -D "$chain" $words -m comment --comment "$COMMENT" -j ACCEPT 2>/dev/null; do
        found=yes
    done
    [ -n "$found" ] || die "there is no rule $RULE any more in $family filter $chain"
)
"#;

impl Helper {
    /// Those that it calls.
    pub(super) fn needs(self) -> &'static [&'static str] {
        match self {
            Helper::Host => &["readlink"],
            Helper::Namespace => &["nsenter", "grep"],
            Helper::NewFile | Helper::ChangeFile => &["ln"],
            Helper::Tagged => &["sed", "grep", "cut"],
            Helper::OwnAddress => &["od", "awk"],
            Helper::Rules => &["sed"],
            Helper::Permit => &["nft", "awk"],
            _ => &[],
        }
    }

    /// Its text.
    pub(super) fn text(self) -> String {
        let text = match self {
            Helper::Host => HOST,
            Helper::Proto => PROTO,
            Helper::Owned => OWNED,
            Helper::Namespace => return format!("{}{NAMESPACE}", kernels_own()),
            Helper::NewFile => NEW_FILE,
            Helper::ChangeFile => CHANGE_FILE,
            Helper::Quiet => QUIET_LINK,
            Helper::RemoveLink => REMOVE_LINK,
            Helper::Tagged => TAGGED,
            Helper::OwnAddress => OWN_ADDRESS,
            Helper::OwnRoute => OWN_ROUTE,
            Helper::Patience => PATIENCE,
            Helper::Rules => RULES,
            Helper::Permit => PERMIT,
        };
        text.to_owned()
    }
}

/// What a new namespace runs: it has the settings back that the kernel copied from the machine's first one.
fn kernels_own() -> String {
    let mut text = "\n\
        # The kernel copies the IPv4 settings of a new namespace from the machine's first one. Its own are these, for all links,\n\
        # for new ones, and for lo. Links of a namespace of netform use their IPv6 addresses at once.\n\
        kernels_own='set -e\n\
        cd /proc/sys/net/ipv4/conf\n\
        while read -r name all default lo; do\n    \
            for setting in \"all $all\" \"default $default\" \"lo $lo\"; do\n        \
                file=${setting% *}/$name\n        \
                if [ -e \"$file\" ] && read -r now <\"$file\" && [ \"$now\" != \"${setting#* }\" ]; then\n            \
                    echo \"${setting#* }\" >\"$file\"\n        \
                fi\n    \
            done\n\
        done <<END\n"
        .to_owned();
    for (name, values) in INHERITED {
        let _ = writeln!(text, "{name} {}", values.join(" "));
    }
    let _ = write!(
        text,
        "END\n[ ! -e /proc/sys/{QUIET} ] || echo 0 >/proc/sys/{QUIET}'\n"
    );
    text
}
