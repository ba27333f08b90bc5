//! The templates of AWS Batch, compared with the service's own description of its interface.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{at, project};
use crate::support;

/// What AWS would be sent, compared with the service's own model of it.
#[test]
fn the_templates_of_aws_batch_fit_its_interface() {
    let Some(python) = support::python() else { return };
    let program = "import json, sys, botocore.loaders, botocore.model, botocore.validate\n\
        model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model('batch', 'service-2'))\n\
        for operation, path in zip(sys.argv[1::2], sys.argv[2::2]):\n    \
            report = botocore.validate.ParamValidator().validate(json.load(open(path)), model.operation_model(operation).input_shape)\n    \
            assert not report.has_errors(), f'{path}: {report.generate_report()}'\n    \
            print(operation)";
    let folder = project().join("pipelines/aws-batch");
    let (definition, job) = (folder.join("job-definition.json"), folder.join("array-job.json"));
    let arguments = [
        OsStr::new("RegisterJobDefinition"),
        definition.as_os_str(),
        OsStr::new("SubmitJob"),
        job.as_os_str(),
    ];
    assert_eq!(support::run_python(&python, program, &arguments), "RegisterJobDefinition\nSubmitJob\n");
    let read = |path: &Path| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    let (definition, job) = (read(&definition), read(&job));
    // Batch retries what no rule matches.
    let rules = at(&definition, "/retryStrategy/evaluateOnExit").as_array().unwrap();
    let action = |code: &str| {
        rules.iter().find(|rule| rule["onExitCode"] == code).map(|rule| rule["action"].as_str().unwrap())
    };
    assert_eq!([action("75"), action("143"), action("*")], [Some("RETRY"), Some("RETRY"), Some("EXIT")]);
    assert_eq!(rules.last().unwrap()["onExitCode"], "*");
    let words = |value: &Value| {
        value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let command = words(at(&definition, "/containerProperties/command"));
    assert_eq!(command[command.len() - 2..], ["--share", "auto"]);
    assert_eq!(job["jobDefinition"], definition["jobDefinitionName"]);
    assert!(at(&job, "/arrayProperties/size").as_u64().unwrap() > 1);
}
