//! Slack's way to write mentions, links and signs.

/// The text as people see it. `called` says what a user is called, by id.
pub fn plain(text: &str, called: &dyn Fn(&str) -> Option<String>) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        plain.push_str(&signs(&rest[..start]));
        let Some(end) = rest[start..].find('>') else {
            rest = &rest[start..];
            plain.push_str(&signs(rest));
            return plain;
        };
        plain.push_str(&reference(&rest[start + 1..start + end], called));
        rest = &rest[start + end + 1..];
    }
    plain.push_str(&signs(rest));
    plain
}

/// What stands between `<` and `>`.
fn reference(inside: &str, called: &dyn Fn(&str) -> Option<String>) -> String {
    let (target, label) = inside.split_once('|').map_or((inside, None), |(target, label)| (target, Some(signs(label))));
    let label = label.filter(|label| !label.is_empty());
    if let Some(user) = target.strip_prefix('@') {
        return format!("@{}", called(user).or(label).unwrap_or_else(|| user.to_owned()));
    }
    if let Some(channel) = target.strip_prefix('#') {
        return format!("#{}", label.unwrap_or_else(|| channel.to_owned()));
    }
    if let Some(command) = target.strip_prefix('!') {
        // `<!date^1577880000^{date}|Jan 1>` and `<!subteam^S1|@ops>` say in words what is meant.
        return label.unwrap_or_else(|| format!("@{}", command.split('^').next().unwrap_or(command)));
    }
    let target = signs(target);
    match label {
        Some(label) if !target.ends_with(&label) => format!("{label} ({target})"),
        _ => target.strip_prefix("mailto:").unwrap_or(&target).to_owned(),
    }
}

fn signs(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_as_people_saw_them() {
        let called = |id: &str| (id == "U1").then(|| "Ada".to_owned());
        for (text, seen) in [
            ("1 &lt; 2 &amp;&amp; 3 &gt; 2 &amp;lt;", "1 < 2 && 3 > 2 &lt;"),
            ("<@U1> and <@U2> and <@U3|cy>", "@Ada and @U2 and @cy"),
            ("<#C1|ops> <!channel> <!subteam^S1|@crew>", "#ops @channel @crew"),
            (
                "<https://x.y/?a=1&amp;b=2> <http://x.y|x.y> <https://x.y|here>",
                "https://x.y/?a=1&b=2 http://x.y here (https://x.y)",
            ),
            ("<mailto:a@x.y|a@x.y>", "a@x.y"),
            ("a <b", "a <b"),
        ] {
            assert_eq!(plain(text, &called), seen);
        }
    }
}
