use proptest::prelude::*;

use super::*;

fn safe(wire: &str) -> String {
    SafePath::from_wire(wire).unwrap().as_str().to_owned()
}

#[test]
fn hopeless_paths_are_refused_with_the_reason() {
    let table = [
        ("", NameError::Empty),
        ("/etc/passwd", NameError::Absolute),
        ("//server/share", NameError::Absolute),
        ("../x", NameError::Dots),
        ("a/../../x", NameError::Dots),
        ("a/..", NameError::Dots),
        (".", NameError::Dots),
        ("..", NameError::Dots),
        ("./x", NameError::Dots),
        ("a//b", NameError::EmptyComponent),
        ("a/", NameError::EmptyComponent),
        ("a\0b", NameError::Nul),
    ];
    for (wire, error) in table {
        assert_eq!(SafePath::from_wire(wire), Err(error), "{wire:?}");
    }
    let deep = vec!["d"; MAX_DEPTH].join("/");
    assert_eq!(safe(&deep), deep);
    assert_eq!(
        SafePath::from_wire(&format!("{deep}/d")),
        Err(NameError::TooDeep)
    );
    let long = vec!["d".repeat(200); 21].join("/");
    assert_eq!(SafePath::from_wire(&long), Err(NameError::TooLong));
    // Repair may lengthen a path; the limit holds for what comes out, too.
    let grows = vec!["\u{fb2c}".repeat(75); 18].join("/");
    assert!(grows.len() <= MAX_PATH);
    assert_eq!(SafePath::from_wire(&grows), Err(NameError::TooLong));
}

#[test]
fn evil_names_become_one_harmless_name() {
    let table = [
        ("a\\b", "a_b"),
        ("..\\..\\x", ".._.._x"),
        ("C:\\x", "C__x"),
        ("C:/x", "C_/x"),
        ("a\nb", "a_b"),
        ("a\u{7f}\u{85}b", "a__b"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("Nul .tar.gz", "_Nul .tar.gz"),
        ("aux/lpt9.x", "_aux/_lpt9.x"),
        ("COM¹", "_COM¹"),
        ("lpt³.log", "_lpt³.log"),
        ("COM0", "COM0"),
        ("COM10", "COM10"),
        ("CONSOLE", "CONSOLE"),
        ("a:b", "a_b"),
        ("a<b>c|d?e*f\"g", "a_b_c_d_e_f_g"),
        ("~", "_"),
        ("~root/x", "_root/x"),
        ("a~", "a~"),
        ("gpj\u{202e}exe.jpg", "gpj_exe.jpg"),
        ("a\u{2066}b\u{2069}\u{200f}\u{61c}", "a_b___"),
        ("a\u{2028}b\u{feff}\u{200b}", "a_b__"),
        ("name.", "name_"),
        ("name . .", "name____"),
        (" ", "_"),
        ("...", "___"),
        (".. /x", "___/x"),
        (".bashrc", ".bashrc"),
        (".part", ".part"),
        ("film.part", "film.part"),
        (".film.0123456789abcdef.part", "_film.0123456789abcdef.part"),
        (".FILM.0123456789ABCDEF.PART", "_FILM.0123456789ABCDEF.PART"),
        (".film.0123456789abcde.part", ".film.0123456789abcde.part"),
        ("cafe\u{301}", "caf\u{e9}"),
        ("👨‍👩‍👧", "👨‍👩‍👧"),
        ("日本語/ファイル.txt", "日本語/ファイル.txt"),
    ];
    for (wire, expected) in table {
        assert_eq!(safe(wire), expected, "{wire:?}");
        assert_eq!(safe(expected), expected);
    }
}

#[test]
fn long_names_are_cut_between_characters_and_keep_their_extension() {
    assert_eq!(safe(&"x".repeat(300)), "x".repeat(240));
    let cut = safe(&format!("{}.tar.gz", "x".repeat(300)));
    assert_eq!(cut, format!("{}.tar.gz", "x".repeat(233)));
    assert_eq!(safe(&"😀".repeat(64)), "😀".repeat(60));
    let cut = safe(&format!("é{}.mp4", "😀".repeat(64)));
    assert_eq!(cut, format!("é{}.mp4", "😀".repeat(58)));
    assert_eq!(
        safe(&format!("x.{}", "y".repeat(300))),
        format!("x.{}", "y".repeat(238))
    );
    // A cut that ends in a dot is mended.
    let dotted = format!("{}.{}", "x".repeat(239), "y".repeat(50));
    assert_eq!(safe(&dotted), format!("{}_", "x".repeat(239)));
    // Cutting must not build what looks like a part file of ours.
    let trap = format!(
        ".{}.0123456789abcdef{}.part",
        "a".repeat(217),
        "z".repeat(99)
    );
    let cut = safe(&trap);
    assert!(!is_part_name(&cut), "{cut}");
}

#[test]
fn numbers_go_before_the_extension_and_fit() {
    assert_eq!(numbered("a.txt", 1), "a (1).txt");
    assert_eq!(numbered("a.tar.gz", 2), "a (2).tar.gz");
    assert_eq!(numbered(".bashrc", 1), ".bashrc (1)");
    assert_eq!(numbered("a", 12), "a (12)");
    let long = numbered(&format!("{}.txt", "é".repeat(118)), 1000);
    assert!(
        long.len() <= MAX_NAME && long.ends_with(" (1000).txt"),
        "{long}"
    );
    assert_eq!(safe(&long), long);
}

#[test]
fn part_names_are_short_and_recognised() {
    for name in ["a", ".x", &"😀".repeat(60), "x.part"] {
        let part = part_name(name, 0xfeed);
        assert!(part.len() <= 119, "{part}");
        assert!(is_part_name(&part), "{part}");
        assert!(part.ends_with(".000000000000feed.part"), "{part}");
    }
    assert!(!is_part_name("é.part"));
    assert!(!is_part_name("."));
}

#[test]
fn folding_joins_case_and_composition() {
    assert_eq!(fold("Cafe\u{301}"), fold("CAF\u{c9}"));
    assert_eq!(fold("STRASSE"), fold("straße"));
    assert_eq!(fold("ΣΑΣ"), fold("σας"));
    assert_ne!(fold("a"), fold("b"));
}

/// Characters that the rules are about, more often than chance would bring them.
fn hostile_text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("/".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(" ".to_owned()),
        Just("\\".to_owned()),
        Just("~".to_owned()),
        Just("con".to_owned()),
        Just("LPT¹".to_owned()),
        Just(".0123456789abcdef".to_owned()),
        Just(".part".to_owned()),
        Just(".tar.gz".to_owned()),
        Just("\u{301}".to_owned()),
        Just("\u{338}".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("\u{fb2c}".to_owned()),
        Just("e".repeat(100)),
        Just("😀".repeat(30)),
        any::<char>().prop_map(String::from),
        "[a-z]{1,40}",
    ];
    proptest::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn assert_safe(wire: &str) -> Result<(), TestCaseError> {
    let Ok(path) = SafePath::from_wire(wire) else {
        return Ok(());
    };
    prop_assert!(path.as_str().len() <= MAX_PATH);
    prop_assert!(path.components().count() <= MAX_DEPTH);
    prop_assert_eq!(path.components().count(), wire.split('/').count());
    for name in path.components() {
        prop_assert!(!name.is_empty() && name.len() <= MAX_NAME);
        prop_assert!(name != "." && name != "..");
        prop_assert!(!name.ends_with(['.', ' ']) && !name.starts_with('~'));
        prop_assert!(!name.chars().any(is_hostile));
        prop_assert!(!is_device(name) && !is_part_name(name));
        let mut real = Path::new(name).components();
        prop_assert!(matches!(real.next(), Some(std::path::Component::Normal(_))));
        prop_assert!(real.next().is_none());
        for n in [1, 9999] {
            let next = numbered(name, n);
            prop_assert!(next.len() <= MAX_NAME && next != name);
        }
    }
    let again = SafePath::from_wire(path.as_str());
    prop_assert_eq!(again, Ok(path));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_string_is_refused_or_becomes_one_safe_relative_path(wire in any::<String>()) {
        assert_safe(&wire)?;
    }

    #[test]
    fn any_hostile_mixture_is_refused_or_becomes_one_safe_relative_path(wire in hostile_text()) {
        assert_safe(&wire)?;
    }
}
