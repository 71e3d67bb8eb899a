"""Make the bucket of MLflow's artifacts and DVC's remote where it is missing: `python bucket.py NAME`."""

import os
import sys

import boto3

store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"], region_name="us-east-1")
if sys.argv[1] not in {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}:
    store.create_bucket(Bucket=sys.argv[1])
