//! What the pull gate has admitted is known to the others by its exact name, and makes nothing laxer than that name is.

use assay_admission::ImageRef;

use super::*;

/// Port 5000 enforces, port 6000 observes.
const PORTS: &str = r#"
[[rules]]
name = "strict"
images = ["r.example:5000/**"]
require = [{ signatures = 1, of = ["ci"] }]
[[rules]]
name = "lab"
images = ["r.example:6000/**", "r.example:7001/**", "r.example:7002/**", "r.example:7003/**", "r.example:7004/**",
          "r.example:7005/**", "r.example:7006/**", "r.example:7007/**", "r.example:7008/**"]
mode = "observe"
require = [{ signatures = 1, of = ["ci"] }]
"#;

async fn scene(image: &Image) -> Scene {
    let scene = Scene::new(Fetcher::Resolves(image.documents(), vec![])).await;
    scene.apply_rules(2, "enforce", true, PORTS).await;
    scene
}

fn reference(text: &str) -> ImageRef {
    text.parse().unwrap()
}

/// The question about an image by name.
fn by_name(gate: Gate, name: &str, top: Digest) -> AdmissionRequest {
    let name = CandidateName { reference: reference(name), source: NameSource::Requested };
    let subject = Subject::Image { name, top: Some(top) };
    let (namespace, platform) = ("default".parse().unwrap(), "linux/amd64".parse().unwrap());
    AdmissionRequest::new(gate, namespace, platform, subject, Documents::new()).unwrap()
}

fn pull(name: &str, image: &Image) -> AdmissionRequest {
    by_name(Gate::Pull, name, *image.manifest.digest())
}

/// The question of another gate about an image that is known by a label alone, and is said to be in these indexes.
fn by_label(gate: Gate, image: &Image, label: &str, indexes: &[&Document]) -> AdmissionRequest {
    let label = CandidateName { reference: reference(label), source: NameSource::DistributionSource };
    by_names(gate, image, vec![label], indexes)
}

fn by_names(gate: Gate, image: &Image, names: Vec<CandidateName>, indexes: &[&Document]) -> AdmissionRequest {
    let claim = ImageClaim {
        manifest: *image.manifest.digest(),
        config: *image.config.digest(),
        indexes: indexes.iter().map(|index| *index.digest()).collect(),
        names,
    };
    let documents = image.documents().into_iter().chain(indexes.iter().map(|index| (*index).clone()));
    let documents = documents.map(|document| (*document.digest(), document)).collect();
    let subject =
        Subject::Chain { chain: image.chain, purpose: Purpose::Extraction, images: vec![claim], alike: vec![] };
    let (namespace, platform) = ("default".parse().unwrap(), "linux/amd64".parse().unwrap());
    AdmissionRequest::new(gate, namespace, platform, subject, documents).unwrap()
}

fn unpack(image: &Image) -> AdmissionRequest {
    by_label(Gate::Unpack, image, "r.example/app", &[])
}

fn index_of(image: &Image) -> Document {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{}","size":{},"platform":{{"architecture":"amd64","os":"linux"}}}}]}}"#,
        MediaType::OCI_INDEX,
        MediaType::OCI_MANIFEST,
        image.manifest.digest(),
        image.manifest.bytes().len()
    );
    document(MediaType::OCI_INDEX, text.into_bytes())
}

async fn answer(scene: &Scene, request: AdmissionRequest) -> Option<DenyCode> {
    code(&scene.judge.admit(request, None).await)
}

#[tokio::test]
async fn an_admitted_pull_tells_the_port_that_a_label_has_lost() {
    let image = Image::new("a");
    let scene = scene(&image).await;
    assert_eq!(answer(&scene, unpack(&image)).await, Some(DenyCode::NoSignature));
    assert_eq!(answer(&scene, pull("r.example:6000/app:1", &image)).await, None);
    for gate in [Gate::Unpack, Gate::Run] {
        assert_eq!(answer(&scene, by_label(gate, &image, "r.example/app", &[])).await, None);
        let Record::Decision(record) = scene.last_record() else { panic!("not a decision") };
        let image = record.images.first().unwrap();
        assert_eq!(image.name.as_deref(), Some("r.example:6000/app:1 (requested)"));
        assert_eq!(image.rule.as_deref(), Some("lab"));
        // What the gate said stands beside it.
        assert_eq!(record.names, ["r.example/app (distribution-source)"]);
    }
}

#[tokio::test]
async fn another_path_host_or_digest_is_not_what_was_pulled() {
    let (image, other) = (Image::new("a"), Image::new("b"));
    let scene = scene(&image).await;
    assert_eq!(answer(&scene, pull("r.example:6000/app:1", &image)).await, None);
    assert_eq!(answer(&scene, unpack(&image)).await, None);
    assert_eq!(answer(&scene, unpack(&other)).await, Some(DenyCode::NoSignature));
    let label = |label| by_label(Gate::Unpack, &image, label, &[]);
    assert_eq!(answer(&scene, label("r.example/apq")).await, Some(DenyCode::NoSignature));
    assert_eq!(answer(&scene, label("r.examplf/app")).await, Some(DenyCode::NoRule));
    // A label with a port has lost none.
    assert_eq!(answer(&scene, label("r.example:5000/app")).await, Some(DenyCode::NoSignature));
}

#[tokio::test]
async fn the_name_of_an_image_record_stays_whatever_port_was_pulled() {
    let image = Image::new("a");
    let scene = scene(&image).await;
    assert_eq!(answer(&scene, pull("r.example:6000/app:1", &image)).await, None);
    let name = |text, source| CandidateName { reference: reference(text), source };
    for gate in [Gate::Unpack, Gate::Run] {
        let names = vec![
            name("r.example:5000/app:1", NameSource::ImageRecord),
            name("r.example/app", NameSource::DistributionSource),
        ];
        assert_eq!(answer(&scene, by_names(gate, &image, names, &[])).await, Some(DenyCode::NoSignature));
    }
}

#[tokio::test]
async fn of_two_ports_for_one_digest_the_stricter_counts() {
    let image = Image::new("a");
    let scene = scene(&image).await;
    scene.plays(Fetcher::Resolves(image.documents(), vec![scene.signature(&image)]));
    assert_eq!(answer(&scene, pull("r.example:5000/app:1", &image)).await, None);
    assert_eq!(answer(&scene, pull("r.example:6000/app:1", &image)).await, None);
    assert_eq!(answer(&scene, unpack(&image)).await, None);
    // Now that the key does not count any more, the other port's name is not enough.
    scene.apply_rules(3, "enforce", false, PORTS).await;
    assert_eq!(answer(&scene, pull("r.example:6000/app:1", &image)).await, None);
    assert_eq!(answer(&scene, unpack(&image)).await, Some(DenyCode::NotSatisfied));
}

#[tokio::test]
async fn what_was_refused_or_only_asked_is_not_remembered() {
    let image = Image::new("a");
    let scene = scene(&image).await;
    let asked = by_name(Gate::Ask, "r.example:6000/app:1", *image.manifest.digest());
    assert_eq!(answer(&scene, asked).await, None);
    assert_eq!(answer(&scene, unpack(&image)).await, Some(DenyCode::NoSignature));
    assert_eq!(answer(&scene, pull("r.example:6000/app:1", &image)).await, None);
    assert_eq!(answer(&scene, pull("r.example:5000/app:1", &image)).await, Some(DenyCode::NoSignature));
    assert_eq!(answer(&scene, unpack(&image)).await, None);
}

#[tokio::test]
async fn an_index_that_was_pulled_names_the_manifests_that_it_lists_and_no_others() {
    let (image, other) = (Image::new("a"), Image::new("b"));
    let index = index_of(&image);
    let scene = scene(&image).await;
    let documents = [vec![index.clone()], image.documents()].concat();
    scene.plays(Fetcher::Resolves(documents, vec![]));
    assert_eq!(answer(&scene, by_name(Gate::Pull, "r.example:6000/app:1", *index.digest())).await, None);
    assert_eq!(answer(&scene, by_label(Gate::Unpack, &image, "r.example/app", &[&index])).await, None);
    let foreign = by_label(Gate::Unpack, &other, "r.example/app", &[&index]);
    assert_eq!(answer(&scene, foreign).await, Some(DenyCode::NoSignature));
}

#[tokio::test]
async fn of_a_digest_with_too_many_ports_the_label_stays_as_it_is_whatever_was_answered_before() {
    let image = Image::new("a");
    let scene = scene(&image).await;
    assert_eq!(answer(&scene, pull("r.example:6000/app:1", &image)).await, None);
    assert_eq!(answer(&scene, unpack(&image)).await, None);
    for port in 7001..=7008 {
        assert_eq!(answer(&scene, pull(&format!("r.example:{port}/app:1"), &image)).await, None);
    }
    assert_eq!(answer(&scene, unpack(&image)).await, Some(DenyCode::NoSignature));
}

#[tokio::test]
async fn a_restarted_agent_knows_the_label_alone() {
    let image = Image::new("a");
    let scene = scene(&image).await;
    assert_eq!(answer(&scene, pull("r.example:6000/app:1", &image)).await, None);
    assert_eq!(answer(&scene, unpack(&image)).await, None);
    assert_eq!(code(&scene.restarted().admit(unpack(&image), None).await), Some(DenyCode::NoSignature));
}

#[tokio::test]
async fn what_the_pull_gate_collected_is_not_collected_again_to_unpack_it() {
    let image = Image::new("a");
    let scene = scene(&image).await;
    scene.plays(Fetcher::Resolves(image.documents(), vec![scene.signature(&image)]));
    assert_eq!(answer(&scene, pull("r.example:5000/app:1", &image)).await, None);
    assert_eq!(scene.asked(), 1);
    // At once: it is kept before the pull is answered.
    scene.plays(Fetcher::Fails(DenyCode::EvidenceUnavailable));
    assert_eq!(answer(&scene, unpack(&image)).await, None);
    assert_eq!(scene.asked(), 1);
}
