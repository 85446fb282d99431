"""Certificates: how wrong a solution can be, measured with more effort than was spent on solving."""

from bellax.certify.certificate import Certificate
from bellax.certify.certify import certify
from bellax.certify.flow_certificate import FlowCertificate
from bellax.certify.gridless_certificate import GridlessCertificate
from bellax.certify.regimes import RegimeCertificate

__all__ = ["Certificate", "FlowCertificate", "GridlessCertificate", "RegimeCertificate", "certify"]
