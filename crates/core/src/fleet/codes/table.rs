//! The codes themselves: what is told, and what is said about it.

use super::{Code, Row, Severity};

/// Declares the codes as constants and as a table.
macro_rules! codes {
    ($($name:ident = $code:literal $severity:ident $title:literal $remedy:literal $explanation:literal;)*) => {
        $(#[doc = $title] pub const $name: Code = Code($code);)*

        /// All codes, in order.
        pub static TABLE: &[Row] = &[
            $(Row {
                code: $name,
                severity: Severity::$severity,
                title: $title,
                remedy: $remedy,
                explanation: $explanation,
            },)*
        ];
    };
}

codes! {
    SYNTAX = 1 Error
        "a file cannot be read"
        "Correct the file at this place."
        "The file breaks the rules of its format (JSON or YAML) at the place shown. Nothing else \
        in this file was looked at, so more may be wrong once this is right.";
    DUPLICATE_KEY = 2 Error
        "a key stands twice in one map"
        "Keep one of the two."
        "JSON and YAML readers differ in which of two equal keys wins, and most take the last one \
        silently: a person believed to be removed may still be there. So a map may have each key \
        once.";
    LIMIT = 3 Error
        "a file is too large, too deep or has too many aliases"
        "Split the file, or simplify it."
        "Every file has limits, so that a broken or hostile one cannot exhaust the memory of \
        whoever checks it: 64 MiB and two million values a file, 64 levels, and YAML aliases \
        that repeat at most 100,000 values.";
    MISSING_FILE = 4 Error
        "a file is missing"
        "Add the file, or give the right folder with --fleet."
        "The fleet folder needs this file. An empty set of its contents is fine, but has to be \
        written down, so that a lost file is not taken for an empty one.";
    WRONG_TYPE = 5 Error
        "a value has the wrong type"
        "Write the value in the form that is asked for."
        "Such as a text where a list belongs, or a number with a fraction where a port belongs.";
    MISSING_FIELD = 6 Error
        "a mandatory field is missing"
        "Add the field."
        "The entry cannot be used without this field.";
    UNKNOWN_FIELD = 7 Error
        "a field that does not exist"
        "Correct its spelling, or remove it. A remark goes under `_comment`."
        "Nothing reads this field, so what was meant by it does not happen. Mostly it is \
        misspelt.";
    IGNORED_FIELD = 8 Warning
        "a field that nothing reads"
        "Correct its spelling, or remove it. A remark goes under `_comment`."
        "The older tools ignore unknown fields here and so does Afield; but what was meant by it \
        does not happen. Mostly it is misspelt.";
    NOT_UTF8 = 9 Error
        "a file is not UTF-8"
        "Save the file as UTF-8."
        "All files of the fleet folder are text in UTF-8.";
    NOT_LOOKED_INTO = 11 Note
        "something could not be looked into"
        "Run it where what is missing can be had."
        "A part of the fleet folder could not be read here, for instance because it is Nix and no \
        nix-instantiate is on the PATH. Rules about that part were not checked.";
    UNSUPPORTED_YAML = 13 Error
        "YAML that the older tools refuse"
        "Write it as plain data, in one document."
        "The older tools read YAML with PyYAML's safe_load, which knows only the tags of plain \
        data. A tag for anything else, an alias inside its own anchor, or a second document in \
        one file is refused there and here.";
    ROLE_MISSING = 101 Error
        "a role that does not exist"
        "Define the role under users.roles, or correct its name."
        "A host that is used enables, directly or through other roles, a role that is not under \
        `users.roles`. Who may do what on that host cannot be said, so it is refused.";
    ROLE_CYCLE = 102 Error
        "roles that enable each other in a circle"
        "Take one of the roles out of the circle."
        "A role may not reach itself through the roles it enables. Two ways to one role (a \
        diamond) are fine.";
    ROLE_MISSING_UNUSED = 103 Warning
        "a role that does not exist, in a role that no host uses"
        "Define the role under users.roles, or correct its name."
        "As AF0101, but no host uses the role that enables it: nothing is refused today, but the \
        first host to use it will be.";
    ROLE_CYCLE_UNUSED = 104 Warning
        "roles in a circle that no host uses"
        "Take one of the roles out of the circle."
        "As AF0102, but no host uses these roles: nothing is refused today, but the first host to \
        use one will be.";
    CONFLICT = 105 Error
        "a person with two profiles on one host"
        "Keep one profile, or settle it with enable_roles_with_profile."
        "Each person has one profile on a host. The same profile by two ways is fine, two \
        different ones are not: neither the stronger nor the weaker is surely meant. \
        `enable_roles_with_profile` on the host replaces every profile below a role by one.";
    PROFILE_UNKNOWN = 106 Error
        "a permission profile that does not exist"
        "Use one of the profiles that the finding lists."
        "Profiles are fixed: admin, dockerAdmin, localDockerAdmin, devops, fieldSupport, \
        docker_logs, remoteTunnelWithShell, localShell, remoteTunnel, remoteTunnelMonitor. Upper \
        and lower case matter.";
    GLOBAL_ADMIN_CONFLICT = 107 Error
        "a global admin with another profile"
        "Remove the other profile, or the person from global_admins."
        "Whoever is in `global_admins` has the profile admin on every host. Another profile on \
        one host contradicts it.";
    ROLE_UNUSED = 108 Warning
        "a role that no host uses"
        "Remove the role, or enable it on a host."
        "No host enables the role, directly or through other roles, so nobody gets anything from \
        it.";
    USER_WITHOUT_KEY = 109 Warning
        "a person who is enabled but has no key"
        "Add a key for the person to keys.json, or remove the person."
        "Login is by key only, so the account exists but nobody can use it.";
    BAD_DATE = 111 Error
        "a date that does not exist"
        "Write the date as YYYY-MM-DD."
        "The older platform checks only the pattern, and a day such as 2027-13-99 then reaches \
        the host, where it is either an error or no limit at all.";
    EXPIRED = 112 Warning
        "an account whose date has passed"
        "Remove the person, or give a later date."
        "From its date on the account is closed on every host. The entries that enable the person \
        have no effect any more.";
    EXPIRY_IGNORED = 113 Warning
        "an expiry date of a global admin"
        "Remove the date, or the person from global_admins."
        "Expiry is ignored for global admins, so that a forgotten date does not lock everyone \
        out. The date is misleading.";
    EXPIRY_UNKNOWN_USER = 114 Warning
        "an expiry date for a person who is nowhere enabled"
        "Remove the date, or correct the name."
        "The name does not appear among those who are given anything. If it is misspelt, the real \
        person never expires.";
    PER_HOST_UNKNOWN = 115 Warning
        "people for a host that does not exist"
        "Remove the entry, or correct the host's name."
        "`users.per-host` names a host that has no file under hosts/. Nobody gets anything from \
        it.";
    BAD_USER_NAME = 116 Error
        "not a name for an account"
        "Use letters, digits and _ . - , starting with a letter or _, at most 32."
        "The name becomes an account and a file name on hosts.";
    RESERVED_USER = 117 Error
        "a name that belongs to the system"
        "Use another name."
        "The accounts root, tunnel and tunneller exist for the system's own use and are not given \
        to people.";
    RELAYS_ONLY = 118 Error
        "a profile for relays on a host that is no relay"
        "Enable the person on relays only, or give another profile."
        "The profile remoteTunnelMonitor exists on relays alone; elsewhere there is nothing to \
        list.";
    PROFILE_UNKNOWN_UNUSED = 119 Warning
        "a permission profile that does not exist, where nobody gets it"
        "Use one of the profiles that the finding lists."
        "As AF0106, but no host comes to it: the role is used by none, or another profile takes its \
        place. Nothing is refused today, but the first host to use it will be.";
    GLOBAL_ADMIN_TWICE = 120 Warning
        "a name that stands twice in a list"
        "Remove one of the two."
        "The second mention has no effect.";
    KEY_WITHOUT_USER = 201 Warning
        "keys of somebody who is given nothing"
        "Remove the keys if the person has left."
        "keys.json has keys for a name that users.json does not mention. The older platform lets \
        such keys pass through every relay; Afield does not.";
    KEY_NOWHERE_ENABLED = 202 Warning
        "keys of somebody who is enabled on no host"
        "Remove the keys if the person has left, or use the role that names the person."
        "users.json mentions the person, but only in roles or entries that reach no host.";
    BAD_KEY = 203 Error
        "not an SSH public key"
        "Paste the first two words of the .pub file: type and body, without the comment."
        "A key is exactly two words: one of the types ssh-ed25519, ecdsa-sha2-nistp256, ssh-rsa \
        (2048 bit or more) and sk-ssh-ed25519@openssh.com, and its body in base64.";
    BAD_KEY_OPTION = 204 Error
        "not a key option that may be used"
        "Use letters and the characters = @ . , \" - only."
        "Options of a key are written into authorized_keys as they are, so only harmless \
        characters are allowed.";
    WEAK_KEY = 205 Warning
        "a weak key"
        "Replace it by an ssh-ed25519 key."
        "RSA keys below 3072 bit are not to be used after 2023 (BSI TR-02102). An ed25519 key of \
        small order fits any signature.";
    KEY_UNUSABLE = 206 Warning
        "a key that no signature can fit"
        "Paste the key again from its .pub file."
        "The text has the form of a key, but its bytes are none: a length inside is wrong, or the \
        point is not on the curve. Nobody can log in with it.";
    DUPLICATE_KEYS = 207 Warning
        "a key that stands twice"
        "Keep the key with the person it belongs to."
        "The same key for two people means that one of them acts under the name of the other; \
        twice for one person is an oversight.";
    BAD_PORT = 301 Error
        "a port out of range"
        "Use 0 for no tunnel, or a free port from 2000 to 9999."
        "`remote_forward_port` is 0 or 2000 to 9999, so that 10000 × prefix + port stays a port \
        for prefixes 0 to 5.";
    DUPLICATE_PORT = 302 Error
        "two hosts with one port"
        "Give one of the hosts a free port."
        "Each host listens on its own port of every relay. With the same port, whichever connects \
        first shuts the other out.";
    TUNNEL_TWICE = 303 Error
        "a host in two tunnel files"
        "Keep one of the two entries."
        "The older tools merge such entries, Nix and Python differently. A host may stand in one \
        file only.";
    EMPTY_HOST_KEY = 304 Warning
        "a host without key"
        "Add the host's public key once it has been installed."
        "While a host is being provisioned its key is empty: it can open no tunnel, and gets no \
        secrets.";
    HOST_KEY_TYPE = 305 Error
        "a host key that nothing can be sealed to"
        "Use the host's ssh-ed25519 key."
        "Secrets are sealed to the host's key, and only ed25519 keys can be used for that. (With \
        generate_secrets false it is let pass.)";
    BAD_PREFIX = 306 Error
        "a prefix out of range"
        "Use a prefix from 0 to 5."
        "The port on the relay is 10000 × prefix + the host's port, and ports end at 65535.";
    DUPLICATE_PREFIX = 307 Error
        "two tunnels of a host with one prefix"
        "Give each tunnel of the host its own prefix. 0 belongs to ssh."
        "Prefixes make the ports of a host's tunnels differ. The tunnel `ssh` is always there and \
        has prefix 0 unless it is given another.";
    BAD_TIMEOUT = 308 Error
        "a time-out that is not a positive number"
        "Use a number of seconds above 0."
        "`connectTimeout` is how long to wait for a relay's answer.";
    COPY_TO_UNKNOWN = 309 Warning
        "a host key copied to somebody who is nowhere enabled"
        "Correct the name, enable the person, or remove the entry."
        "`copy_key_to_users` lets the host log in under the names of these users. This one has no \
        account on any host.";
    SHARED_HOST_KEY = 310 Warning
        "two hosts with one key"
        "Make a key of its own for each host."
        "A host is known by its key: with a shared one each can read the other's secrets and take \
        over its tunnel. Mostly a disk was cloned.";
    NOT_IN_TUNNELS = 311 Error
        "a host that no tunnel file lists"
        "Add the host to a file in json/tunnels.d, with remote_forward_port 0 if it has no tunnel."
        "Every host must be listed, even without a tunnel: its key stands there, by which it is \
        known.";
    TUNNEL_WITHOUT_HOST = 312 Warning
        "a tunnel for a host that does not exist"
        "Remove the entry if the host is gone: its key still opens the relays."
        "There is no file under hosts/ for this host. As long as its key is listed, whoever has \
        it may listen on the relays.";
    PORTS_SCARCE = 313 Warning
        "ports are running out"
        "Free the ports of hosts that are gone."
        "There are 8000 ports, 2000 to 9999, and more than nine in ten are taken.";
    NO_RELAYS = 314 Error
        "tunnels but no relay"
        "Add a relay to json/relay-servers.json."
        "Hosts have tunnels, but there is no relay to connect to.";
    RELAY_NOT_A_HOST = 315 Warning
        "a relay that is no host of this fleet"
        "Add a host file of the same name, or correct the relay's name."
        "A relay is a host of the same name, which gets the accounts tunnel and tunneller. \
        Without it nobody can connect.";
    BAD_RELAY = 316 Error
        "a relay that cannot be reached"
        "Give at least one address, and ports from 1 to 65535."
        "Hosts try each address and each port of a relay in turn.";
    BAD_FORWARDED_PORT = 319 Error
        "not a port"
        "Use a port from 1 to 65535."
        "`forwarded_port` is the port on the host that the tunnel leads to.";
    BAD_HOST_NAME = 401 Error
        "not a name for a host"
        "Use letters, digits and inner hyphens, starting with a letter, 2 to 63 characters."
        "The name becomes the host's name in the network.";
    NO_WAVE = 402 Error
        "a host in no wave"
        "Add the host to one wave in waves-and-staging-hosts.nix."
        "A wave decides when a host is upgraded; a host in none would never be.";
    TWO_WAVES = 403 Error
        "a host in two waves"
        "Keep the host in one wave."
        "A wave stands for a package set, and a host can have only one.";
    WAVE_UNKNOWN_HOST = 404 Warning
        "a host in a wave that does not exist"
        "Remove the name, or correct it."
        "There is no file under hosts/ for this name.";
    STAGING_UNKNOWN_HOST = 405 Warning
        "a staging host that does not exist"
        "Remove the name, or correct it."
        "There is no file under hosts/ for this name, so no host follows the branch staging \
        because of it.";
    WAVE_TWICE = 406 Warning
        "a host twice in one wave"
        "Remove one of the two."
        "The second mention has no effect.";
    HOST_TWICE = 407 Error
        "a host that is both NixOS and Ubuntu"
        "Keep one of the two files."
        "hosts/ and hosts/ubuntu/ have a file of the same name.";
    RELAY_WAVE = 408 Warning
        "a relay outside latestWave"
        "Move the relay to latestWave."
        "Everyone depends on relays, so they run the latest release, which has the latest \
        security fixes.";
    WAVES_FAILED = 410 Error
        "the waves cannot be evaluated"
        "Correct waves-and-staging-hosts.nix."
        "Nix reported an error. Rules about waves were not checked.";
    WAVES_SHAPE = 412 Error
        "the waves have the wrong shape"
        "Give firstWave, middleWave, finalWave, latestWave and stagingHosts, each a list of host names."
        "waves-and-staging-hosts.nix evaluates to something else than lists of host names.";
    FILE_INCOMPLETE = 501 Error
        "an entry without path, content or servers"
        "Give path, content and servers."
        "An app config needs a path, content that is not empty, and at least one server. A secret \
        needs a path, content (which may be \"\") and a list of servers (which may be empty).";
    FILE_TWICE = 502 Error
        "one name for two app configs or secrets"
        "Rename or remove one of the two."
        "Names are unique over all files, as they tell apart what a host gets.";
    FILE_UNKNOWN_HOST = 503 Error
        "a file for a host that does not exist"
        "Remove the host, or correct its name."
        "The host is in no file under hosts/ and in no tunnel file. The older tool kept such app \
        configs silently.";
    FILE_BAD_PATH = 504 Error
        "a path that leaves its folder"
        "Use a path below the folder, without .. and not starting with /."
        "Files are written below /run/.app_configs/ or /run/.secrets/. The older tool followed \
        any path, as root.";
    FILE_PATH_TWICE = 505 Error
        "two files for one path on a host"
        "Give one of them another path, or other servers."
        "On this host both would be written to the same place, and which one is left depends on \
        chance. A path that is a folder of another counts too.";
    CONTENT_NOT_TEXT = 506 Warning
        "content that is not text"
        "Put the content in quotes."
        "YAML reads an unquoted 5, yes or 2024-01-01 as a number, truth value or date. It is kept \
        in the generated file as such, but what reaches the host may not be the characters that \
        were written.";
    FILE_UNUSED = 507 Warning
        "an app config that no host gets"
        "Remove it, or correct its servers."
        "Every server it names is unknown or is left out of the generated file (generate_configs \
        false).";
    FILE_SERVER_TWICE = 508 Warning
        "a server that stands twice"
        "Remove one of the two."
        "The second mention has no effect.";
    SECRET_NOT_SEALED = 509 Warning
        "a secret for a host without key"
        "Add the host's key to json/tunnels.d once it has one."
        "A secret is sealed to the host's key. Hosts whose key is empty are left out.";
    BAD_DEFAULT_EXTRACT = 510 Error
        "default_extract is neither true nor false"
        "Write true or false."
        "`default_extract: \"false\"` keeps a secret from being unpacked unless asked for. Anything \
        else than true or false, of any case, would be taken for true.";
    SECRET_IN_CLEAR = 601 Error
        "a secret in clear text"
        "Encrypt the file (afield secrets encrypt) and replace what it holds: it has been seen."
        "Files below secrets/master/ are encrypted. This one is not, so everyone who can read the \
        repository, or ever could, can read it.";
    BAD_VAULT_HEADER = 602 Error
        "not an encrypted file that can be read"
        "Encrypt the file anew."
        "The first line is $ANSIBLE_VAULT;1.1;AES256, or $ANSIBLE_VAULT;1.2;AES256;<vault id>, \
        and hex lines follow.";
}
