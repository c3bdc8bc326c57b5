"""What training did: answers, reports, grounding and evidence of several models, compared with intervals."""
