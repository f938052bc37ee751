use super::common::Place;

const OLD: &str = "rules:\n  - { principal: \"agent:demo\", capabilities: [\"io.fs.*\"], action: REQUIRE_APPROVAL }\n";

#[test]
fn a_change_of_the_policy_that_loosens_ends_with_6_and_shows_for_whom() {
    let place = Place::new();
    place.write("old.yaml", OLD);
    place.write("new.yaml", OLD.replace("REQUIRE_APPROVAL", "ALLOW"));
    let looser = place.redress(&["policy", "diff", "old.yaml", "new.yaml"]).exits(6);
    for expected in [
        "LOOSER: agent:demo io.fs.a at LOW, MEDIUM",
        "was REQUIRE_APPROVAL by rule 1 (line 2)",
        "is  ALLOW by rule 1 (line 2)",
        "1 looser, 0 stricter",
    ] {
        assert!(looser.stdout.contains(expected), "{expected}: {looser:#?}");
    }
    let stricter = place.redress(&["policy", "diff", "new.yaml", "old.yaml", "--json"]).exits(0).json();
    assert_eq!((&stricter["loosens"], &stricter["changes"][0]["direction"]), (&false.into(), &"stricter".into()));
    let same = place.redress(&["policy", "diff", "old.yaml", "old.yaml"]).exits(0);
    assert!(same.stdout.contains("answer and grant the same"), "{same:#?}");
}

#[test]
fn what_is_not_meant_is_warned_of_and_refused_where_that_is_wanted() {
    let place = Place::new();
    place.write(
        "p.yaml",
        "rules:\n  - { principal: \"agent:*\", capabilities: [\"data.*\"], action: ALLOW }\n  - { principal: \"agent:demo\", \
         capabilities: [\"data.hash\"], action: DENY }\n",
    );
    let warned = place.redress(&["policy", "check", "p.yaml"]).exits(0);
    assert!(
        warned.stdout.contains("rule 2 can never decide: rule 1 (line 2) decide all that it matches"),
        "{warned:#?}"
    );
    place.redress(&["policy", "check", "p.yaml", "--deny-warnings"]).exits(6);
    let json = place.redress(&["policy", "check", "p.yaml", "--json"]).exits(0).json();
    assert_eq!(json["warnings"][0]["code"], "never-decides");
    place.write("p.yaml", "rules:\n  - { principal: \"agent:*\", capabilities: [\"data.*\"], action: ALLOW }\n");
    place.redress(&["policy", "check", "p.yaml", "--deny-warnings"]).exits(0);
}

#[test]
fn what_another_policy_would_have_answered_is_told_for_each_recorded_decision() {
    let place = Place::new();
    place.write(
        "w.yaml",
        "name: w\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: { path: /workspace/a, content: x } }\n  \
         - { name: b, capability: io.fs.read_file, inputs: { path: /workspace/a } }\n",
    );
    let run = place.redress(&["run", "w.yaml", "--json"]).exits(0).run().to_string();
    let stricter = "rules:\n  - { principal: \"agent:demo\", capabilities: [\"io.fs.read_file\"], action: ALLOW }\n  \
                    - { principal: \"agent:demo\", capabilities: [\"io.fs.*\"], when: { inputs.content: { equals: y } }, action: ALLOW }\n";
    place.write("new.yaml", stricter);
    let told = place.redress(&["policy", "simulate", "new.yaml"]).exits(0);
    for expected in [
        format!("stricter: agent:demo io.fs.write_file in {run} a"),
        "was ALLOW by rule 1 (line 3)".to_owned(),
        "is  DENY by the default".to_owned(),
        "2 decisions: 0 would be looser, 1 stricter".to_owned(),
    ] {
        assert!(told.stdout.contains(&expected), "{expected}: {told:#?}");
    }
    // The same policy answers the same; what was denied and would run is told first.
    let same = place.redress(&["policy", "simulate", "policy.yaml", "--json"]).exits(0).json();
    assert_eq!((&same["decisions"], &same["flips"]), (&2.into(), &serde_json::json!([])));
    place.write("policy.yaml", stricter);
    place.redress(&["run", "w.yaml"]).exits(3);
    place.write("old.yaml", super::common::POLICY);
    let looser = place.redress(&["policy", "simulate", "old.yaml", "--since", "1h", "--json"]).exits(0).json();
    assert_eq!((&looser["decisions"], &looser["flips"][0]["looser"]), (&3.into(), &true.into()));
    let nobody = place.redress(&["policy", "simulate", "new.yaml", "--as", "agent:other", "--json"]).exits(0).json();
    assert_eq!(nobody["decisions"], 0);
}

/// What `simulate` says is what comes: each step is run under both policies.
#[test]
fn what_simulate_says_of_a_step_is_what_becomes_of_it_under_the_other_policy() {
    let place = Place::new();
    let new = "rules:\n  - { principal: \"agent:demo\", capabilities: [\"io.fs.make_dir\"], action: REQUIRE_APPROVAL }\n  \
               - { principal: \"agent:demo\", capabilities: [\"io.fs.*\"], when: { inputs.path: { glob: \"/workspace/a*\" } }, action: ALLOW }\n\
               grants:\n  - { capabilities: [\"io.fs.*\"], filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }] }\n";
    let steps = [
        ("io.fs.write_file", "{ path: /workspace/a1, content: x }"),
        ("io.fs.write_file", "{ path: /workspace/b1, content: x }"),
        ("io.fs.make_dir", "{ path: /workspace/d }"),
        ("io.fs.exists", "{ path: /workspace/a2 }"),
        ("data.hash", "{ content: x }"),
        ("net.http.get", "{ url: \"https://h.example/\" }"),
    ];
    for (n, (capability, inputs)) in steps.iter().enumerate() {
        let step = format!("name: w{n}\nsteps:\n  - {{ name: s{n}, capability: {capability}, inputs: {inputs} }}\n");
        place.write(format!("w{n}.yaml"), step);
    }
    let actions = |policy: &str| -> Vec<String> {
        let answered = |n: usize| {
            let ran = place.redress(&["run", &format!("w{n}.yaml"), "--policy", policy, "--json"]);
            ran.json()["steps"][0]["decision"]["action"].as_str().unwrap().to_owned()
        };
        (0..steps.len()).map(answered).collect()
    };
    let old = actions("policy.yaml");
    place.write("new.yaml", new);
    let told = place.redress(&["policy", "simulate", "new.yaml", "--json"]).exits(0).json();
    let is = actions("new.yaml");
    let flipped = |n: usize| {
        let flips = told["flips"].as_array().unwrap();
        flips.iter().find(|flip| flip["step"] == format!("s{n}")).map(|flip| flip["is"]["action"].as_str().unwrap())
    };
    for n in 0..steps.len() {
        assert_eq!(flipped(n).unwrap_or(&old[n]), is[n], "{}", steps[n].0);
    }
    assert_eq!((0..steps.len()).filter(|n| flipped(*n).is_some()).count(), 3, "{told}");
}
