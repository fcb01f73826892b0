//! More images of one layer than are examined for one answer.

use assay_admission::Purpose;

use super::*;

/// A thousand images on one base, none of which is unpacked.
fn thousand() -> Vec<Image> {
    (0..1000).map(|n| Image::new(&["base", &n.to_string()])).collect()
}

async fn node_of(images: &[Image], manifest: &Image) -> Node {
    let all: Vec<&Image> = images.iter().collect();
    let behaviour = Behaviour::AdmitsFor(manifest.manifest(), allow(), deny());
    // Without optimisation, and beside other tests.
    Node::with_patience(&all, behaviour, std::time::Duration::from_secs(30)).await
}

fn extraction(n: usize, image: &Image) -> String {
    format!("default/{n}/extract-1 {}", image.chain(0))
}

#[tokio::test]
async fn a_signed_image_among_a_thousand_on_one_base_is_unpacked_wherever_it_stands() {
    let images = thousand();
    let node = node_of(&images, &images[0]).await;
    for (n, signed) in images.iter().step_by(333).enumerate() {
        node.behave(Behaviour::AdmitsFor(signed.manifest(), allow(), deny()));
        let before = node.questions().len();
        let start = Instant::now();
        prepare(&node, &extraction(n, signed), "").await.unwrap();
        println!("image {} of 1000: {:?}", n * 333, start.elapsed());
        for question in &node.questions()[before..] {
            assert!(question.glance && question.images.len() <= 128);
            assert_eq!(question.images.len() + question.alike.len(), 1000);
            let names: Vec<usize> = question.alike.iter().map(|image| image.names.len()).collect();
            assert!(names.iter().all(|names| *names > 0), "{names:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_of_a_thousand_is_asked_for_in_full_once() {
    let images = thousand();
    let nobody = Image::new(&["other"]);
    let node = node_of(&images, &nobody).await;
    refused(prepare(&node, &extraction(2, &images[0]), "").await, "NO_SIGNATURE");
    let questions = node.questions();
    let (last, glances) = questions.split_last().unwrap();
    assert!(!last.glance && glances.iter().all(|question| question.glance), "{} questions", questions.len());
    assert!((1..=8).contains(&glances.len()), "{} glances", glances.len());
}

#[tokio::test]
async fn what_was_pulled_last_is_asked_about_first() {
    let images = thousand();
    let newest = &images[777];
    let node = node_of(&images, newest).await;
    node.touch(newest);
    prepare(&node, &extraction(2, newest), "").await.unwrap();
    let questions = node.questions();
    assert_eq!(questions.len(), 1);
    assert_eq!(questions[0].images[0].manifest, newest.manifest().to_string());
}

#[tokio::test]
async fn other_blobs_for_the_base_of_a_thousand_stop_it_by_name_and_what_runs_on_it_goes_on() {
    let images = thousand();
    let signed = &images[0];
    let node = node_of(&images, signed).await;
    let key = extraction(1, signed);
    prepare(&node, &key, "").await.unwrap();
    let base = format!("default/2/{}", signed.chain(0));
    commit(&node, &base, &key).await.unwrap();
    let top = format!("default/3/extract-1 {}", signed.chain(1));
    prepare(&node, &top, &base).await.unwrap();
    let whole = format!("default/4/{}", signed.chain(1));
    commit(&node, &whole, &top).await.unwrap();
    let mut evil = Image::new(&["base"]);
    evil.use_foreign_layers();
    node.add(&evil);
    for told in ["LIMIT", "1001 images contain this chain, and 1001 of them", "images rm --sync"] {
        refused(prepare(&node, &extraction(5, signed), "").await, told);
    }
    prepare(&node, "default/6/web", &whole).await.unwrap();
    node.remove_manifest(&evil);
    prepare(&node, &extraction(7, signed), "").await.unwrap();
    // Other blobs for a layer of one's own concern nobody else, but are in every question.
    let mut own = Image::new(&["base", "0"]);
    own.rewrite_config("", 1);
    own.use_foreign_layers_above(1);
    node.add(&own);
    let before = node.questions().len();
    prepare(&node, &extraction(8, signed), "").await.unwrap();
    let questions = node.questions();
    // What is asked ahead of containerd's answer counts for nothing here.
    let counted: Vec<_> = questions[before..].iter().filter(|question| question.glance).collect();
    assert!(!counted.is_empty());
    for question in counted {
        for odd in [&own, signed] {
            assert!(question.images.iter().any(|image| image.manifest == odd.manifest().to_string()));
        }
    }
}

#[tokio::test]
async fn what_was_read_ahead_is_not_read_for_the_first_question() {
    let images = thousand();
    let node = node_of(&images, &images[0]).await;
    let known = crate::Images::of(&node.containerd_socket());
    known.learn_ahead(&"default".parse().unwrap()).await;
    assert_eq!(node.reads(), 2000);
    let chain = images[0].chain(0);
    known.of_chain(&"default".parse().unwrap(), &chain, Purpose::Extraction, None).await.unwrap();
    // Manifest, config and index of each image of the part that is examined.
    assert_eq!(node.reads(), 2000 + 3 * 128);
}
