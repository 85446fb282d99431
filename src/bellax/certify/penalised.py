"""stub"""
def sides(setting, policy, starts, keys):
    return None, "not implemented"
