use super::common::{Place, SETTINGS};

fn about(answer: &serde_json::Value, what: &str) -> Vec<(String, String)> {
    let findings = answer["findings"].as_array().unwrap().iter().filter(|finding| finding["about"] == what);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    findings
        .map(|finding| (text(&finding["verdict"]), format!("{} {}", text(&finding["says"]), text(&finding["way_out"]))))
        .collect()
}

#[test]
fn a_doctor_says_of_everything_whether_it_is_well_and_what_to_do_if_not() {
    let place = Place::new();
    let healthy = place.redress(&["doctor", "--json"]).exits(0).json();
    assert_eq!(healthy["healthy"], true);
    assert_eq!(about(&healthy, "journal")[0].0, "note", "there is none yet: {healthy}");
    place.redress(&["call", "data.hash", "--input", "content=x"]).exits(0);
    let healthy = place.redress(&["doctor", "--json"]).exits(0).json();
    for what in ["settings", "policy", "components", "journal", "space", "runs", "owners", "clock"] {
        assert_eq!(about(&healthy, what)[0].0, "good", "{what}: {healthy}");
    }
    let sick = |what: &str, words: &str| {
        let answer = place.redress(&["doctor", "--json"]).exits(6).json();
        let found = about(&answer, what);
        assert!(found.iter().any(|(verdict, says)| verdict == "wrong" && says.contains(words)), "{what}: {answer}");
    };
    let policy = place.read("policy.yaml");
    place.write("policy.yaml", "rulez: []\n");
    sick("policy", "rulez");
    place.write("policy.yaml", policy);
    place.write("redress.yaml", "policy: policy.yaml\n");
    sick("settings", "a principal");
    place.write("redress.yaml", SETTINGS.to_owned() + "colour: red\n");
    sick("settings", "colour");
    place.write("redress.yaml", SETTINGS);
    let sql = rusqlite::Connection::open(place.path(".redress/journal.db")).unwrap();
    sql.execute("UPDATE runs SET submitted = 9000000000000", []).unwrap();
    sick("clock", "nothing expires");
    drop(sql);
    place.write(".redress/journal.db", "nonsense");
    sick("journal", "is damaged");
}
