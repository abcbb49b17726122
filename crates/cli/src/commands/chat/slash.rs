//! What can be typed in a conversation besides messages: `/help` and kin.

/// A line as it was typed, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing.
    Blank,
    /// A message for the model.
    Message(String),
    /// A command for this client.
    Slash(Slash),
    /// A line that begins like a command and is none; with what to tell.
    Unknown(String),
}

/// A command for this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slash {
    /// Lists the commands.
    Help,
    /// Begins a new conversation.
    New,
    /// Tells the conversation's id, or goes on with another one.
    Session(Option<String>),
    /// Whether the model thinks; `None` leaves it to the settings.
    Think(Option<bool>),
    /// Whether the thinking is shown.
    ShowThinking(bool),
    /// Shows the instructions of the conversation.
    System,
    /// Sets them, or takes them away.
    SetSystem(Option<String>),
    /// Chooses a preset, or none.
    Preset(Option<String>),
    /// Whether tokens and speed are shown.
    Stats(bool),
    /// Leaves.
    Quit,
}

/// The commands as `/help` shows them: what to type, and what it does.
pub(super) const HELP: &[(&str, &str)] = &[
    ("/new", "begin a new conversation"),
    ("/session [ID]", "show the conversation's id, or go on with another one"),
    ("/system [TEXT]", "show or set the instructions of this conversation (`/system -` removes them)"),
    ("/preset NAME", "accurate, balanced, creative; `/preset -` for none"),
    ("/think on|off|auto", "whether the model thinks before it answers"),
    ("/think show|hide", "whether its thinking is shown"),
    ("/stats on|off", "whether tokens and speed are shown after an answer"),
    ("/help", "this list"),
    ("/quit", "leave (Ctrl-D does too)"),
];

/// The names of the commands, for completion.
pub(super) const NAMES: &[&str] =
    &["/help", "/new", "/preset", "/quit", "/session", "/stats", "/system", "/think"];

/// Understands a line. A message that begins with a slash is typed with two.
pub(super) fn parse(line: &str) -> Typed {
    let text = line.trim();
    if text.is_empty() {
        return Typed::Blank;
    }
    if let Some(rest) = text.strip_prefix("//") {
        return Typed::Message(format!("/{rest}"));
    }
    if !text.starts_with('/') {
        return Typed::Message(line.trim_end().to_owned());
    }
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    let given = (!rest.is_empty()).then(|| rest.to_owned());
    Typed::Slash(match (name, rest) {
        ("/help" | "/?", _) => Slash::Help,
        ("/new", "") => Slash::New,
        ("/session", _) => Slash::Session(given),
        ("/system", "") => Slash::System,
        ("/system", "-") => Slash::SetSystem(None),
        ("/system", _) => Slash::SetSystem(given),
        ("/preset", "-") => Slash::Preset(None),
        ("/preset", _) if given.is_some() => Slash::Preset(given),
        ("/think", "on") => Slash::Think(Some(true)),
        ("/think", "off") => Slash::Think(Some(false)),
        ("/think", "auto") => Slash::Think(None),
        ("/think", "show") => Slash::ShowThinking(true),
        ("/think", "hide") => Slash::ShowThinking(false),
        ("/stats", "on") => Slash::Stats(true),
        ("/stats", "off") => Slash::Stats(false),
        ("/quit" | "/exit" | "/bye", _) => Slash::Quit,
        _ => return Typed::Unknown(unknown(name)),
    })
}

fn unknown(name: &str) -> String {
    match HELP
        .iter()
        .filter(|(usage, _)| usage.split(' ').next() == Some(name))
        .map(|(usage, _)| *usage)
        .collect()
    {
        usages if Vec::is_empty(&usages) => {
            format!("`{name}` is no command; `/help` lists them, and `//` begins a message with a slash")
        }
        usages => format!("it is typed {}", usages.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let given = |text: &str| Some(text.to_owned());
        for (line, slash) in [
            ("/help", Slash::Help),
            ("  /new  ", Slash::New),
            ("/session", Slash::Session(None)),
            ("/session abc", Slash::Session(given("abc"))),
            ("/system You are  terse. ", Slash::SetSystem(given("You are  terse."))),
            ("/system", Slash::System),
            ("/system -", Slash::SetSystem(None)),
            ("/think off", Slash::Think(Some(false))),
            ("/think auto", Slash::Think(None)),
            ("/think show", Slash::ShowThinking(true)),
            ("/preset creative", Slash::Preset(given("creative"))),
            ("/preset -", Slash::Preset(None)),
            ("/stats on", Slash::Stats(true)),
            ("/exit", Slash::Quit),
        ] {
            assert_eq!(parse(line), Typed::Slash(slash), "{line}");
        }
        assert_eq!(parse(" \t"), Typed::Blank);
        assert_eq!(parse("what is /etc?  "), Typed::Message("what is /etc?".into()));
        assert_eq!(parse("//etc/hosts, what is it?"), Typed::Message("/etc/hosts, what is it?".into()));
    }

    #[test]
    fn what_is_no_command_is_not_sent_to_the_model() {
        let Typed::Unknown(told) = parse("/thnik on") else { panic!("sent") };
        assert!(told.contains("`/thnik` is no command"), "{told}");
        let Typed::Unknown(told) = parse("/think") else { panic!("sent") };
        assert_eq!(told, "it is typed /think on|off|auto or /think show|hide");
        assert!(matches!(parse("/preset"), Typed::Unknown(_)));
        assert!(matches!(parse("/new x"), Typed::Unknown(_)));
    }

    #[test]
    fn help_names_and_parser_agree() {
        for (usage, _) in HELP {
            let name = usage.split(' ').next().unwrap();
            assert!(NAMES.contains(&name), "{name}");
        }
        for name in NAMES {
            let Typed::Unknown(told) = parse(name) else { continue };
            assert!(told.starts_with("it is typed"), "{told}");
        }
    }
}
