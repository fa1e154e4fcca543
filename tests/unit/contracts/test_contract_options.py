"""The lint of the options that give a contract its home in Go, Java and C#."""

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from issuer.common.v1 import options_pb2
from tools.contract_options import expected, violations


def contract(package: str, file: str) -> descriptor_pb2.FileDescriptorProto:
    made = descriptor_pb2.FileDescriptorProto(name=f"{package.replace('.', '/')}/{file}", package=package)
    for option, value in expected(made).items():
        setattr(made.options, option, value)
    return made


def lint(*files: descriptor_pb2.FileDescriptorProto) -> list[str]:
    return violations(descriptor_pb2.FileDescriptorSet(file=files))


def test_the_options_follow_from_the_package_and_the_name_of_the_file() -> None:
    file = contract("issuer.threeds.v1", "card_range.proto")
    assert lint(file) == []
    assert expected(file) == {
        "csharp_namespace": "D1Gateway.ThreeDS.V1",
        "go_package": "d1gateway.internal/contracts/issuer/threeds/v1;threedsv1",
        "java_multiple_files": True,
        "java_outer_classname": "ThreeDSCardRangeProto",
        "java_package": "d1gateway.issuer.threeds.v1",
    }


def test_the_package_of_gateways_alone_is_not_named_twice_in_java() -> None:
    assert expected(contract("d1gateway.peer.v1", "messages.proto"))["java_package"] == "d1gateway.peer.v1"


@pytest.mark.parametrize("option", sorted(expected(contract("issuer.card.v1", "service.proto"))))
def test_a_contract_that_lacks_an_option_is_found(option: Any) -> None:
    file = contract("issuer.card.v1", "service.proto")
    file.options.ClearField(option)

    (complaint,) = lint(file)

    assert complaint.startswith(f"issuer/card/v1/service.proto: needs `option {option} = ")


def test_a_contract_with_the_options_of_another_is_found() -> None:
    file = contract("issuer.card.v1", "service.proto")
    file.options.CopyFrom(contract("issuer.consumer.v1", "service.proto").options)

    assert len(lint(file)) == 4


def test_an_outer_class_with_the_name_of_another_class_is_found() -> None:
    file = contract("issuer.card.v1", "service.proto")
    file.message_type.add(name="CardServiceProto")

    assert lint(file) == ["issuer/card/v1/service.proto: d1gateway.issuer.card.v1 has another class CardServiceProto"]


def test_files_that_others_own_are_not_looked_at() -> None:
    assert lint(descriptor_pb2.FileDescriptorProto(name="google/protobuf/any.proto", package="google.protobuf")) == []


def test_a_caller_may_have_options_of_its_own_under_the_first_numbers_of_organisations() -> None:
    """protobuf leaves 50000 to 99999 to every organisation, and refuses two options with one number."""
    theirs = descriptor_pb2.FileDescriptorProto(name="bank/options.proto", package="bank")
    theirs.dependency.append(descriptor_pb2.DESCRIPTOR.name)
    for number in range(50000, 50100):
        theirs.extension.add(
            name=f"option_{number}",
            number=number,
            type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
            label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
            extendee=".google.protobuf.EnumValueOptions",
        )
    pool = descriptor_pool.DescriptorPool()
    for file in (descriptor_pb2.DESCRIPTOR, options_pb2.DESCRIPTOR):
        pool.AddSerializedFile(file.serialized_pb)

    pool.AddSerializedFile(theirs.SerializeToString())

    assert pool.FindExtensionByName("bank.option_50001").number == 50001
